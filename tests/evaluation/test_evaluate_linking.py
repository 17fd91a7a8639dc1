"""`evaluate_entity_linking` against counts worked out by hand, and against the pipeline itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.linking_benchmark import PEOPLE, TOWNS, row, tiny_linker

from onegen_hf import OneGenConfig
from onegen_hf.cards.evaluation import report_entries
from onegen_hf.evaluation import LinkingReport, evaluate_entity_linking, fit_opening_bias, format_report
from onegen_hf.evaluation.linking.evaluate import layers_of
from onegen_hf.evaluation.runs import runner as runner_module
from onegen_hf.linking.aliases import AliasTable
from onegen_hf.pipelines import OneGenEntityLinkingPipeline


class ScriptedLinker(OneGenEntityLinkingPipeline):
    """Returns what a test wants: per text its mentions as `(mention, candidates)`, each `(id, score)`."""

    def __init__(self, script: dict[str, list[tuple[str, list[tuple[str, float]]]]]) -> None:
        linker = tiny_linker()
        self.model, self.tokenizer, self.index, self.priors = linker.model, linker.tokenizer, linker.index, None
        self.script = script
        self.calls: list[Any] = []

    def __call__(self, inputs: Sequence[Any], *args: Any, **options: Any) -> Any:
        self.calls.append((inputs, options))
        return [self.result(one["text"], one.get("spans")) for one in inputs]

    def result(self, text: str, spans: Any) -> dict[str, Any]:
        mentions = []
        for mention, found in self.script[text]:
            start = text.index(mention)
            if spans is None or [start, start + len(mention)] in spans:
                candidates = [{"entity_id": one, "name": one.lower(), "score": score} for one, score in found]
                place = {"mention": mention, "start": start, "end": start + len(mention)}
                mentions.append({**place, **candidates[0], "candidates": candidates})
        return {"mentions": mentions, "aligned": text != TOWNS[2]["text"], "usage": {}}


SCRIPT: dict[str, list[tuple[str, list[tuple[str, float]]]]] = {
    # Right; the right span with the entity in second place.
    TOWNS[0]["text"]: [("Ada Moll", [("Q1", 0.9), ("Q2", 0.5)]), ("Fern Bay", [("Q4", 0.6), ("Q2", 0.5)])],
    # A span that is none; the second gold mention missed.
    TOWNS[1]["text"]: [("Elm Hill", [("Q4", 0.8)]), ("lies far", [("Q3", 0.3)])],
    # NIL in the gold: linked, which InKB counts as an error, but rightly detected.
    TOWNS[2]["text"]: [("Zed", [("Q1", 0.2)])],
    PEOPLE[0]["text"]: [("Ben Oak of Elm Hill", [("Q3", 0.7)]), ("Elm Hill", [("Q4", 0.7)])],
    PEOPLE[1]["text"]: [("Ben Oak", [("Q3", 0.7)]), ("he", [("Q1", 0.4), ("Q3", 0.3)])],
}
GROUPS = {"towns": "in-domain", "people": "out-of-domain"}


def evaluate(linker: Any = None, output_dir: Path | None = None, **options: Any) -> LinkingReport:
    datasets = options.pop("datasets", {"towns": TOWNS, "people": PEOPLE})
    linker = ScriptedLinker(SCRIPT) if linker is None else linker
    return evaluate_entity_linking(linker, datasets, output_dir, **{"top_k": 2, "show_progress": False, **options})


def values(report: LinkingReport, name: str) -> dict[str, float]:
    return {metric: estimate.value for metric, estimate in report.results[name].all.metrics.items()}


def test_scores_by_hand(tmp_path: Path) -> None:
    report = evaluate(output_dir=tmp_path, groups=GROUPS)
    towns = values(report, "towns")
    # 2 right of 5 linked, 4 gold mentions.
    assert (towns["micro_precision"], towns["micro_recall"]) == (2 / 5, 2 / 4)
    assert towns["micro_f1"] == towns["elevant_f1"] == pytest.approx(4 / 9)
    # 3 spans right, 1 wrong; Zed is neither.
    assert (towns["detection_precision"], towns["detection_recall"]) == (3 / 4, 3 / 4)
    assert towns["disambiguation_accuracy"] == towns["recall@1"] == pytest.approx(2 / 3)
    assert towns["recall@2"] == 1.0
    assert towns["aligned"] == pytest.approx(2 / 3)
    people = values(report, "people")
    assert (people["micro_precision"], people["micro_recall"]) == (3 / 4, 3 / 4)
    assert report.results["towns"].all.examples == 3 and report.results["towns"].all.hops == 4
    average = values(report, "average")
    assert average["micro_f1"] == pytest.approx((4 / 9 + 3 / 4) / 2)
    assert values(report, "average in-domain") == towns
    assert values(report, "average out-of-domain") == people
    assert list(report.results) == ["towns", "people", "average", "average in-domain", "average out-of-domain"]
    for run in report.results.values():
        assert all(0 <= one.low <= one.value <= one.high <= 1 for one in run.all.metrics.values())
    assert report.left_out["towns"] == {"datetime": 1, "nil": 1}


def test_predictions_are_those_that_are_scored(tmp_path: Path) -> None:
    report = evaluate(output_dir=tmp_path, threshold=0.65)
    lines = (tmp_path / "towns.predictions.jsonl").read_text(encoding="utf-8").splitlines()
    found = [[(m["mention"], m["entity_id"], m["score"]) for m in json.loads(line)["mentions"]] for line in lines]
    assert found[0] == [("Ada Moll", "Q1", 0.9), ("Fern Bay", "NIL", 0.6)]
    assert found[2] == [("Zed", "NIL", 0.2)]
    towns = values(report, "towns")
    assert (towns["micro_precision"], towns["micro_recall"]) == (1.0, 2 / 4)
    assert towns["detection_recall"] == 3 / 4 and towns["recall@1"] == pytest.approx(2 / 3)
    # Another threshold takes the same links.
    links = (tmp_path / "towns.links.jsonl").read_bytes()
    assert values(evaluate(None, tmp_path, threshold=0.85), "towns")["micro_recall"] == 1 / 4
    assert (tmp_path / "towns.links.jsonl").read_bytes() == links


def test_the_threshold_of_the_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    linker = ScriptedLinker(SCRIPT)
    monkeypatch.setattr(linker.model.onegen_config, "link_threshold", 0.65)
    assert evaluate(linker).scoring == {"threshold": 0.65, "prior_weight": 0.0, "fitted": []}
    assert evaluate(linker, threshold=0.1).scoring["threshold"] == 0.1
    # It is fitted to what the model finds.
    assert evaluate(linker, mode="given").scoring["threshold"] is None


def test_a_fitted_threshold_is_the_best() -> None:
    report = evaluate(fit_threshold=True, datasets={"towns": TOWNS})
    assert report.scoring["fitted"] == ["threshold"]
    fitted = values(report, "towns")["micro_f1"]
    tried = [values(evaluate(threshold=n / 20, datasets={"towns": TOWNS}), "towns")["micro_f1"] for n in range(21)]
    assert fitted == max(tried) == pytest.approx(2 * 2 / (2 + 4))


class BiasedLinker(ScriptedLinker):
    """Opens no mention with a negative bias, and with a large one a wrong one for each right one."""

    def __call__(self, inputs: Sequence[Any], *args: Any, **options: Any) -> Any:
        results = super().__call__(inputs, *args, **options)
        for one, result in zip(inputs, results, strict=True):
            if options["opening_bias"] < 0:
                result["mentions"] = []
            elif options["opening_bias"] > 1:
                best = [{"entity_id": "Q1", "name": "q1", "score": 0.95}]
                wrong = {"mention": one["text"][:2], "start": 0, "end": 2, **best[0], "candidates": best}
                result["mentions"] = [wrong, *result["mentions"]]
        return results


def test_the_fitted_bias_is_the_best_with_its_threshold(tmp_path: Path) -> None:
    datasets = {"towns": TOWNS, "people": PEOPLE}
    fitted = fit_opening_bias(BiasedLinker(SCRIPT), datasets, tmp_path / "runs", biases=(2, 0, 1), show_progress=False)
    assert fitted.bias == 0.0 and list(fitted.micro_f1) == [2.0, 0.0, 1.0]
    assert fitted.micro_f1[0.0] == fitted.micro_f1[1.0] > fitted.micro_f1[2.0]
    assert fitted.threshold == fitted.reports[0.0].scoring["threshold"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [f"opening_bias_{n}" for n in range(3)]
    fitted.write(tiny_checkpoint(tmp_path))
    written = json.loads((tmp_path / "checkpoint" / "config.json").read_text())["onegen"]
    assert (written["opening_bias"], written["link_threshold"]) == (0.0, fitted.threshold)
    with pytest.raises(ValueError, match="biases is empty"):
        fit_opening_bias(BiasedLinker(SCRIPT), datasets, biases=())


def tiny_checkpoint(folder: Path) -> Path:
    """A directory with nothing but the settings of a checkpoint."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps({"onegen": OneGenConfig().to_dict()}))
    return checkpoint


def test_given_mentions_are_linked_in_layers_without_overlaps() -> None:
    linker = ScriptedLinker(SCRIPT)
    report = evaluate(linker, mode="given", batch_size=3)
    spans = [(one["text"], one["spans"]) for inputs, _ in linker.calls for one in inputs]
    assert [own for text, own in spans if text == PEOPLE[0]["text"]] == [[[0, 19]], [[11, 19]]]
    assert all(text != TOWNS[2]["text"] for text, _ in spans)  # it has nothing to link
    # "Fern Bay" of the second text is not in the script: it is missed.
    assert values(report, "towns")["micro_recall"] == 2 / 4
    assert values(report, "people")["micro_f1"] == pytest.approx(3 / 4)
    assert not any(name.startswith("detection") for name in values(report, "towns"))


@pytest.mark.parametrize(
    ("spans", "layers"),
    [
        ([], []),
        ([(3, 5), (0, 2)], [[(0, 2), (3, 5)]]),
        ([(0, 2), (0, 9), (4, 9), (9, 10), (0, 9)], [[(0, 9), (9, 10)], [(0, 2), (4, 9)]]),
        ([(0, 4), (2, 6), (5, 8)], [[(0, 4), (5, 8)], [(2, 6)]]),
    ],
)
def test_layers(spans: Any, layers: Any) -> None:
    assert layers_of(spans) == layers


def test_detection_alone() -> None:
    linker = ScriptedLinker(SCRIPT)
    report = evaluate(linker, mode="detection")
    assert all(options["mode"] == "detection" for _, options in linker.calls)
    towns = values(report, "towns")
    assert sorted(towns) == ["aligned", "detection_f1", "detection_precision", "detection_recall"]
    assert towns["detection_f1"] == 3 / 4
    assert "detection_precision" in format_report(report)


def test_priors_are_weighed_in_afterwards(tmp_path: Path) -> None:
    linker = ScriptedLinker({})
    linker.priors = object.__new__(type("Priors", (), {"table": AliasTable()}))  # type: ignore[assignment]

    def result(text: str, spans: Any) -> dict[str, Any]:
        near, named = ("Q4", 0.6, 0.0), ("Q2", 0.5, 0.5)
        candidates = [
            {"entity_id": i, "name": i, "score": s, "similarity": s, "prior": p} for i, s, p in (near, named)
        ]
        start = text.index("Fern Bay")
        place = {"mention": "Fern Bay", "start": start, "end": start + 8, **candidates[0]}
        return {"mentions": [{**place, "candidates": candidates}], "aligned": True}

    linker.result = result  # type: ignore[method-assign]
    datasets = {"towns": TOWNS[:2]}
    assert values(evaluate(linker, tmp_path, datasets=datasets), "towns")["micro_precision"] == 0.0
    report = evaluate(linker, tmp_path, datasets=datasets, fit_prior_weight=True, fit_threshold=True)
    assert report.scoring["prior_weight"] > 0.2 and report.scoring["fitted"] == ["threshold", "prior_weight"]
    assert values(report, "towns")["micro_precision"] == 1.0
    assert len(linker.calls) == 1  # the links were there
    weight = report.scoring["prior_weight"]
    line = json.loads((tmp_path / "towns.predictions.jsonl").read_text().splitlines()[0])
    assert line["mentions"][0]["score"] == pytest.approx(0.5 + weight * 0.5)


def test_report_and_table(tmp_path: Path) -> None:
    report = evaluate(output_dir=tmp_path, groups=GROUPS, threshold=0.65)
    stored = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert stored == json.loads(report.to_json())
    assert (stored["task"], stored["dataset"]) == ("entity-linking", "towns, people")
    entries = report.eval_results()
    assert {entry.dataset_name for entry in entries} == {"towns", "people"}
    f1 = next(entry for entry in entries if (entry.dataset_name, entry.metric_type) == ("people", "micro_f1"))
    assert f1.metric_value == round(values(report, "people")["micro_f1"], 4)
    found = report.results["people"].all.metrics["micro_f1"]
    assert f1.metric_args == {"confidence_interval": [round(found.low, 4), round(found.high, 4)], "level": 0.95}
    # A model card takes each entry's own interval, not that of the average.
    carded = [(entry.dataset_name, entry.metric_type, entry.metric_args) for entry in report_entries(tmp_path)]
    assert carded == [(entry.dataset_name, entry.metric_type, entry.metric_args) for entry in entries]
    shown = format_report(report)
    assert "mode full\n4 entities, k=2, threshold 0.650, float32" in shown
    assert "average in-domain" in shown and "micro_f1" in shown


def test_the_linker_itself(tmp_path: Path) -> None:
    linker = tiny_linker()
    for mode in ("full", "given", "detection"):
        report = evaluate(linker, tmp_path / mode, mode=mode, batch_size=2)
        assert list(report.results) == ["towns", "people", "average"]
    lines = (tmp_path / "given" / "towns.links.jsonl").read_text(encoding="utf-8").splitlines()
    spans = [label["span"] for label in TOWNS[0]["labels"]]
    (expected,) = linker([{"text": TOWNS[0]["text"], "spans": spans}], top_k=2)
    stored = json.loads(lines[0])["mentions"]
    assert [(m["start"], m["end"], m["entity_id"]) for m in stored] == [
        (m["start"], m["end"], m["entity_id"]) for m in expected
    ]
    assert [m["score"] for m in stored] == pytest.approx([m["score"] for m in expected])


def test_killed_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linker, whole, killed = tiny_linker(), tmp_path / "whole", tmp_path / "killed"
    options: Any = {"mode": "given", "batch_size": 1}
    evaluate(linker, whole, **options)
    append, calls = runner_module.ResultsFile.append, []

    def fourth_time(self: Any, results: Any) -> None:
        calls.append(results)
        if len(calls) == 4:
            raise KeyboardInterrupt
        append(self, results)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runner_module.ResultsFile, "append", fourth_time)
        evaluate(linker, killed, **options)
    assert not (killed / "report.json").exists()
    evaluate(linker, killed, **options)
    for path in whole.iterdir():
        assert (killed / path.name).read_bytes() == path.read_bytes(), path.name
    with pytest.raises(ValueError, match="mode was 'given' and is now 'full'"):
        evaluate(linker, killed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "all"}, "mode='all' is unknown: choose one of"),
        ({"datasets": {}}, "datasets={} is empty"),
        ({"datasets": {"a/b": TOWNS}}, "the data set's name 'a/b' names files"),
        ({"datasets": {"average": TOWNS}}, "the data set's name 'average'"),
        ({"datasets": {"zed": TOWNS[2:]}}, "no label of the data set 'zed' has an entity of the catalogue"),
        ({"datasets": {"other": [row(0, "Ada.", ("Ada", "Q77"))]}}, "give the index of the catalogue"),
        ({"groups": {"villages": "in-domain"}}, r"groups has \['villages'\], but the data sets are"),
        ({"top_k": 0}, "top_k=0 must be at least 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"prior_weight": 0.5}, "a weight of priors needs an alias table"),
        ({"fit_prior_weight": True}, "a weight of priors needs an alias table"),
        ({"prior_weight": -1.0}, "prior_weight=-1.0 must be at least 0"),
        ({"mode": "detection", "fit_threshold": True}, "there is no threshold"),
    ],
)
def test_arguments_that_cannot_be_right(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(**options)


def test_without_a_catalogue_only_detection_is_evaluated() -> None:
    whole = tiny_linker()
    linker = OneGenEntityLinkingPipeline(model=whole.model, tokenizer=whole.tokenizer, mode="detection")
    report = evaluate(linker, mode="detection")
    assert report.settings["index"] is None and "no catalogue" in format_report(report)
    with pytest.raises(ValueError, match="mode='given' needs an entity catalogue"):
        evaluate(linker, mode="given")
