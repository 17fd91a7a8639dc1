"""Retrieval of gold conversations against embeddings and rankings computed one by one."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support.evaluation_setup import pipeline, rows
from support.sample_corpus import DOCUMENTS, EXAMPLES

from onegen_hf import PassageIndex
from onegen_hf.data.conversations import RoleEncoder
from onegen_hf.evaluation import evaluate_retrieval
from onegen_hf.evaluation.runs import runner as runner_module
from onegen_hf.modeling.embed import embed_rows

pytestmark = pytest.mark.xdist_group("evaluation")


def evaluate(examples: Any, output_dir: Path | None = None, **options: Any) -> Any:
    rag = pipeline()
    return evaluate_retrieval(
        rag.model, rag.tokenizer, rag.index, examples, output_dir, **{"show_progress": False, **options}
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "retrievals.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("batch_size", [1, 3, 20])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_hits_are_those_of_single_searches(tmp_path: Path, batch_size: int, k: int) -> None:
    rag = pipeline()
    report = evaluate(EXAMPLES, tmp_path, k=k, batch_size=batch_size)
    encoder = RoleEncoder(rag.tokenizer, rag.model.onegen_config)
    reciprocal, firsts, hops = 0.0, 0, 0
    for example, found in zip(EXAMPLES, lines(tmp_path), strict=True):
        assert found["id"] == example["id"]
        assert len(found["retrievals"]) == len(example["positives"])
        for hop, positives in enumerate(example["positives"]):
            encoded = encoder.encode(example["messages"])
            embeddings = embed_rows(rag.model, [encoded.input_ids], [[encoded.query_positions[hop]]])
            expected = [rag.index[int(row)].id for row in rag.index.search(embeddings, k)[1][0]]
            assert [passage["id"] for passage in found["retrievals"][hop]["passages"]] == expected
            if positives:
                wanted = {reference.partition("#")[0] for reference in positives}
                rank = next((n for n, name in enumerate(expected, start=1) if name in wanted), None)
                reciprocal += 0 if rank is None else 1 / rank
                firsts += rank == 1
                hops += 1
    metrics = report.results["retrieved"].all.metrics
    assert report.results["retrieved"].all.hops == hops == 7
    assert metrics["mrr"].value == pytest.approx(reciprocal / hops)
    assert metrics["success@1"].value == pytest.approx(firsts / hops)
    assert (f"ndcg@{min(k, 10)}" in metrics) and (f"recall@{k}" in metrics)


def test_learned_hops_are_found() -> None:
    report = evaluate(rows([0, 1, 0]))
    assert report.task == "retrieval" and list(report.results) == ["retrieved"]
    run = report.results["retrieved"]
    assert run.all.metrics["recall@1"].value == 1.0
    assert list(run.by_type) == ["1 hops", "2 hops"] and list(run.by_hop) == ["1", "2"]


def test_killed_after_a_block_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    evaluate(EXAMPLES, whole, batch_size=3)
    append, calls = runner_module.ResultsFile.append, []

    def second_time(self: Any, results: Any) -> None:
        calls.append(len(results))
        if len(calls) == 2:
            raise KeyboardInterrupt
        append(self, results)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runner_module.ResultsFile, "append", second_time)
        evaluate(EXAMPLES, killed, batch_size=3)
    assert len(lines(killed)) == 3
    evaluate(EXAMPLES, killed, batch_size=3)
    for name in ("retrievals.jsonl", "report.json", "settings.json", "model-index.yaml"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_it_does_not_go_on_with_other_search_parameters(tmp_path: Path) -> None:
    rag = pipeline()
    index = PassageIndex.build(rag.model, rag.tokenizer, DOCUMENTS, factory="IVF4,Flat", show_progress=False)
    options = {"output_dir": tmp_path, "show_progress": False}
    evaluate_retrieval(rag.model, rag.tokenizer, index, EXAMPLES, **options)
    evaluate_retrieval(rag.model, rag.tokenizer, index, EXAMPLES, **options)
    index.set_search_parameters(nprobe=1)
    with pytest.raises(ValueError, match=r"index\.search_parameters\.nprobe was 4 and is now 1\. Give the same"):
        evaluate_retrieval(rag.model, rag.tokenizer, index, EXAMPLES, **options)


def test_a_query_token_beyond_the_context_finds_nothing(tmp_path: Path) -> None:
    example = copy.deepcopy(EXAMPLES[0])
    example["messages"][1]["content"] = example["messages"][1]["content"].replace(" Ada Moll. ", " boat" * 500, 1)
    evaluate([example, EXAMPLES[1]], tmp_path)
    first, second = lines(tmp_path)
    assert [len(retrieval["passages"]) for retrieval in first["retrievals"]] == [12, 0]
    assert [len(retrieval["passages"]) for retrieval in second["retrievals"]] == [12]


def test_the_model_keeps_its_mode() -> None:
    model = pipeline().model
    model.train()
    try:
        evaluate(rows([1]))
        assert model.training
    finally:
        model.eval()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positives": [["d0"]]}, "example 'q0' has 2 query tokens .RQ. and 1 lists of positives"),
        ({"messages": []}, "example 'q0' has 0 query tokens .RQ. and 2 lists of positives"),
        ({"positives": [[], []]}, "no query token .RQ. has positives"),
        ({"positives": [["d0"], ["d99"]]}, "1 positives are not in the index: 'd99'"),
    ],
)
def test_examples_that_cannot_be_scored(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate([{**rows([0])[0], **change}], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_words_count_as_much_as_they_are_asked_to(tmp_path: Path) -> None:
    plain, hybrid = evaluate(rows(), tmp_path / "plain", k=3), evaluate(rows(), tmp_path / "both", k=3, hybrid=1.0)
    assert "hybrid" not in plain.settings and hybrid.settings["hybrid"] == 1.0
    before, after = (lines(tmp_path / name) for name in ("plain", "both"))
    assert before != after
    again = evaluate(rows(), tmp_path / "both", k=3, hybrid=1.0)
    assert again.to_dict() == hybrid.to_dict()


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_a_query_without_a_line_of_its_own_has_the_words_of_the_question(tmp_path: Path, fusion: Any) -> None:
    """The line before the first query token is then the header of the assistant's turn."""
    example = {
        **EXAMPLES[0],
        "messages": [{"role": "user", "content": "Which museum?"}, {"role": "assistant", "content": "[RQ]"}],
        "positives": [["d8"]],
        "negatives": [[]],
    }
    evaluate([example], tmp_path, k=2, hybrid=1.0, fusion=fusion)
    assert [passage["id"] for passage in lines(tmp_path)[0]["retrievals"][0]["passages"]] == ["d8"]


def test_the_checkpoint_says_how_words_count(tmp_path: Path) -> None:
    rag = pipeline()
    model = copy.deepcopy(rag.model)
    model.onegen_config = dataclasses.replace(model.onegen_config, hybrid=0.9, fusion="weighted")
    plain = evaluate_retrieval(model, rag.tokenizer, rag.index, rows(), tmp_path / "plain", k=3, show_progress=False)
    assert plain.settings == evaluate(rows(), k=3).settings  # the index has no search by words
    index = PassageIndex.build(model, rag.tokenizer, DOCUMENTS, show_progress=False)
    report = evaluate_retrieval(model, rag.tokenizer, index, rows(), tmp_path / "words", k=3, show_progress=False)
    assert (report.settings["hybrid"], report.settings["fusion"]) == (0.9, "weighted")
    assert lines(tmp_path / "words") != lines(tmp_path / "plain")
    again = evaluate_retrieval(model, rag.tokenizer, index, rows(), k=3, hybrid=0.0, show_progress=False)
    assert "hybrid" not in again.settings


def test_an_index_of_another_model() -> None:
    rag = pipeline()
    other = copy.deepcopy(rag.model)
    for parameter in other.parameters():
        parameter.data = parameter.data.flip(0)
    index = PassageIndex.build(other, rag.tokenizer, DOCUMENTS, show_progress=False)
    with pytest.raises(ValueError, match="the index was made by another model"):
        evaluate_retrieval(rag.model, rag.tokenizer, index, rows())
