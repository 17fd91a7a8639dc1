"""`onegen-hf evaluate --task entity-linking` on benchmarks of a few texts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.linking_benchmark import PEOPLE, TOWNS, checkpoint, write_rows

from onegen_hf.cli.evaluate import main
from onegen_hf.cli.linking_evaluation import DataSet, parse_data_sets
from onegen_hf.evaluation.linking.opening_bias import BIASES
from onegen_hf.linking.aliases import AliasTable


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("linker"))


def options(model: Path, folder: Path, *more: str) -> list[str]:
    data = [
        str(write_rows(folder / "towns.benchmark.jsonl", TOWNS)),
        str(write_rows(folder / "people.jsonl", PEOPLE)),
    ]
    return [
        "--task", "entity-linking", "--model", str(model), "--dataset", *data, "--output-dir", str(folder / "out"),
        "--device", "cpu", *more,
    ]  # fmt: skip


def test_a_table_of_data_sets(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(options(model, tmp_path, "--mode", "given", "--in-domain", "towns", "--top-k", "3"))
    shown = capsys.readouterr().out
    assert "mode given\n4 entities, k=3, float32" in shown
    for name in ("towns", "people", "average", "average in-domain", "average out-of-domain"):
        assert f"\n{name} " in shown
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["groups"] == {"towns": "in-domain", "people": "out-of-domain"}
    assert report["dataset"] == "towns, people" and str(tmp_path) not in json.dumps(report)
    assert len((tmp_path / "out" / "people.predictions.jsonl").read_text().splitlines()) == 2


def test_a_page_with_every_failure(model: Path, tmp_path: Path) -> None:
    main(options(model, tmp_path, "--mode", "given", "--nil-threshold", "-1", "--html", str(tmp_path / "page.html")))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    failures, mentions = re.search(r"(\d+) of (\d+) mentions", page).groups()  # type: ignore[union-attr]
    assert page.count('<article class="case') == int(failures) and int(mentions) >= int(failures)
    results = json.loads((tmp_path / "out" / "report.json").read_text())["results"]
    right = [results[name]["all"]["metrics"]["disambiguation_accuracy"]["value"] for name in ("towns", "people")]
    assert (int(failures) == 0) == (right == [1.0, 1.0])
    assert "Gold entity" in page and "Data set" in page and "towns" in page and "<script" not in page


def test_a_page_needs_entities(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode='detection' links none"):
        main(options(model, tmp_path, "--mode", "detection", "--html", str(tmp_path / "page.html")))


def test_a_fitted_threshold_goes_into_the_checkpoint(model: Path, tmp_path: Path) -> None:
    main(options(model, tmp_path, "--mode", "given", "--fit-threshold"))
    written = json.loads((model / "config.json").read_text())["onegen"]["link_threshold"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["scoring"] == {"threshold": written, "prior_weight": 0.0, "fitted": ["threshold"]}
    # Given mentions have the threshold that is passed, and no link is computed anew.
    main(options(model, tmp_path, "--mode", "given", "--nil-threshold", str(written)))
    again = json.loads((tmp_path / "out" / "report.json").read_text())
    assert again["scoring"] == {"threshold": written, "prior_weight": 0.0, "fitted": []}
    assert again["results"] == report["results"]


def test_a_fitted_bias_goes_into_the_checkpoint_with_its_threshold(model: Path, tmp_path: Path) -> None:
    main(options(model, tmp_path, "--fit-opening-bias", "--kinds", "persons", "places"))
    written = json.loads((model / "config.json").read_text())["onegen"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["opening_bias"] in BIASES
    assert report["scoring"]["threshold"] == written["link_threshold"]
    assert report["settings"]["call"]["kinds"] == ["persons", "places"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fit-opening-bias", "--mode", "given"], "fit_opening_bias is for mode='full'"),
        (["--fit-opening-bias", "--opening-bias", "1"], "leave out one of both"),
        (["--kinds", "verbs"], "kinds"),
    ],
)
def test_options_of_marking_that_do_not_fit(model: Path, tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(options(model, tmp_path, *more))


def test_priors_and_free_rewriting(model: Path, tmp_path: Path) -> None:
    table = AliasTable()
    table.add("Fern Bay", "Q2", 2)
    table.save(tmp_path / "aliases.json")
    more = ["--mode", "given", "--aliases", str(tmp_path / "aliases.json"), "--prior-weight", "5"]
    main(options(model, tmp_path, *more, "--limit", "1"))
    lines = (tmp_path / "out" / "towns.predictions.jsonl").read_text().splitlines()
    assert len(lines) == 1 and json.loads(lines[0])["mentions"][1]["entity_id"] == "Q2"
    arguments = options(model, tmp_path, "--mode", "detection", "--decoding", "free", "--limit", "1")
    arguments[arguments.index("--output-dir") + 1] = str(tmp_path / "free")
    main(arguments)
    report = json.loads((tmp_path / "free" / "report.json").read_text())
    assert report["results"]["towns"]["all"]["metrics"]["aligned"]["value"] == 0.0  # a random model writes anything
    assert report["settings"]["call"]["decoding"] == "free"


def test_data_sets_by_name(tmp_path: Path) -> None:
    odd = write_rows(tmp_path / "a=b:c.jsonl", TOWNS)
    assert DataSet.parse(str(odd)) == DataSet("a=b:c", str(odd))
    assert DataSet.parse("news=x/kore50.benchmark.jsonl.gz") == DataSet(
        "kore50", "x/kore50.benchmark.jsonl.gz", None, "news"
    )
    assert DataSet.parse("AIDA-YAGO2-dataset.tsv:testb") == DataSet(
        "AIDA-YAGO2-dataset", "AIDA-YAGO2-dataset.tsv", "testb"
    )
    assert DataSet.parse("org/name:dev") == DataSet("name", "org/name", "dev")
    groups = [one.group for one in parse_data_sets(["a.jsonl", "own=b.jsonl", "c.jsonl"], ["c"])]
    assert groups == ["out-of-domain", "own", "in-domain"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--in-domain", "villages"], r"in_domain=\['villages'\] are none of the data sets \['towns', 'people'\]"),
        (["--model", "org/none", "--fit-threshold"], "model='org/none' is no directory"),
        (["--task", "retrieval"], "takes one dataset repository"),
        (["--aliases", "none.json"], "no such alias table"),
    ],
)
def test_errors_of_linking_input(model: Path, tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        main(options(model, tmp_path, *more))


def test_options_of_linking_are_refused_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fit_threshold: for task=entity-linking only, but task=rag"):
        main(["--dataset", "x", "--output-dir", str(tmp_path), "--fit-threshold"])
    with pytest.raises(ValueError, match="name more than one data set"):
        parse_data_sets(["a/dev.jsonl", "b/dev.jsonl"])
    with pytest.raises(ValueError, match="model=None is no directory of yours"):
        main(["--task", "entity-linking", "--dataset", "x.jsonl", "--output-dir", str(tmp_path), "--fit-threshold"])
