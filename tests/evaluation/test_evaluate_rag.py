"""Answers of a model that knows two of its questions, and what an evaluation does when it is killed."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from support import evaluation_setup as evaluation_setup
from support.evaluation_setup import NUMBERS, pipeline, rows
from support.forked_python import ForkedPython
from support.sample_corpus import DOCUMENTS

from onegen_hf import OneGenRagPipeline, PassageIndex
from onegen_hf.evaluation import GoldPassageDecoder, evaluate_rag
from onegen_hf.generation import Hit, OnePassDecoder

pytestmark = pytest.mark.xdist_group("evaluation")

FILES = ["answers.jsonl", "answers_gold_passages.jsonl", "model-index.yaml", "report.json", "settings.json"]
OPTIONS: dict[str, Any] = {
    "max_new_tokens": 48, "batch_size": 1, "gold_passages": True, "dataset": "two_questions", "show_progress": False,
}  # fmt: skip


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir()) if file.name != ".lock"}


def answers(path: Path, name: str = "answers.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished")
    evaluate_rag(pipeline(), rows(), path, **OPTIONS)
    return path


def test_answers_are_those_of_the_pipeline(finished: Path) -> None:
    found = answers(finished)
    assert [one.pop("id") for one in found] == [row["id"] for row in rows()]
    assert found == [pipeline()(row["question"], max_new_tokens=48) for row in rows()]


@pytest.mark.parametrize("batch_size", [2, 8])
def test_batches_change_nothing_but_rounding(finished: Path, tmp_path: Path, batch_size: int) -> None:
    evaluate_rag(pipeline(), rows(), tmp_path, **{**OPTIONS, "batch_size": batch_size})
    for name in ("answers.jsonl", "answers_gold_passages.jsonl"):
        assert [one["text"] for one in answers(tmp_path, name)] == [one["text"] for one in answers(finished, name)]


def test_report(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text(encoding="utf-8"))
    assert (report["model"], report["dataset"], report["split"]) == ("checkpoint", "two_questions", None)
    assert str(evaluation_setup.ROOT) not in (finished / "report.json").read_text(encoding="utf-8")
    found = report["results"]["retrieved"]
    learned = sum(number in (0, 1) for number in NUMBERS)
    assert found["all"]["examples"] == len(NUMBERS)
    assert found["all"]["hops"] == sum(len(row["positives"]) for row in rows())
    # Both learned questions are answered; what the others get shows in the stored answers.
    expected = sum(one["answer"] == row["answers"][0] for one, row in zip(answers(finished), rows(), strict=True))
    assert expected >= learned
    assert found["all"]["metrics"]["exact_match"]["value"] == pytest.approx(expected / len(NUMBERS))
    assert found["by_type"]["2 hops"]["metrics"]["recall@1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["by_hop"]["2"]["examples"] == NUMBERS.count(0)
    assert sorted(report["results"]) == ["gold_passages", "retrieved"]
    assert "recall@1" not in report["results"]["gold_passages"]["all"]["metrics"]


def test_gold_passages_are_inserted(finished: Path) -> None:
    taken = 0
    for one, row in zip(answers(finished, "answers_gold_passages.jsonl"), rows(), strict=True):
        for retrieval, gold in zip(one["retrievals"], row["positives"], strict=False):
            assert [(passage["id"], passage["score"]) for passage in retrieval["passages"]] == [(gold[0], 1.0)]
            taken += 1
    assert taken >= sum(len(row["positives"]) for row in rows() if row["positives"] in ([["d0"], ["d1"]], [["d1"]]))


def test_gold_passages_where_the_search_fails(tmp_path: Path) -> None:
    """The upper bound must not depend on the index: here every search finds the wrong passage."""
    rag = pipeline()
    other = PassageIndex.build(rag.model, rag.tokenizer, DOCUMENTS, show_progress=False)
    other.search = lambda embeddings, k: ([[0.5]] * len(embeddings), [[6]] * len(embeddings))  # type: ignore
    lost = OneGenRagPipeline(model=rag.model, tokenizer=rag.tokenizer, index=other)
    report = evaluate_rag(lost, rows([0, 1]), tmp_path, **OPTIONS)
    assert report.results["retrieved"].all.metrics["recall@1"].value == 0.0
    assert report.results["gold_passages"].all.metrics["exact_match"].value == 1.0
    assert [one["retrievals"][0]["passages"][0]["id"] for one in answers(tmp_path)] == ["d6", "d6"]


def test_gold_hops_end_and_searches_go_on() -> None:
    rag = pipeline()
    passages = {passage.id: passage for passage in rag.index}
    decoder = GoldPassageDecoder(
        rag.index, rag.tokenizer, rag.model.onegen_config, gold=[[["d4", "d5"], []]], passages_by_id=passages
    )
    prompt = rag.preprocess(rows([0])[0]["question"])["prompt"]
    retrievals = rag.engine.answer([prompt], decoder, do_sample=False, max_new_tokens=48)[0].retrievals
    assert [hit.passage.id for hit in retrievals[0].hits] == ["d4"]
    assert all(hit.row >= 0 for retrieval in retrievals[1:] for hit in retrieval.hits)


def test_passages_may_be_found_by_other_means(tmp_path: Path) -> None:
    class AlwaysTheFirst(OnePassDecoder):
        def retrieve(self, rows: Any, embeddings: Any) -> Any:
            return [[Hit(self.index[0], 0.5, 0)] for _ in rows]

    options = {**OPTIONS, "gold_passages": False}
    evaluate_rag(pipeline(), rows(), tmp_path, decoder_class=AlwaysTheFirst, **options)
    found = {hit["id"] for one in answers(tmp_path) for hop in one["retrievals"] for hit in hop["passages"]}
    assert found == {pipeline().index[0].id}
    with pytest.raises(ValueError, match="decoder was 'AlwaysTheFirst'"):
        evaluate_rag(pipeline(), rows(), tmp_path, **options)


def test_a_finished_evaluation_computes_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(finished)
    assert sorted(before) == FILES
    monkeypatch.setattr(pipeline().model, "generate", None)
    evaluate_rag(pipeline(), rows(), finished, **OPTIONS)
    assert contents(finished) == before


def test_gold_passages_may_be_asked_for_later(finished: Path, tmp_path: Path) -> None:
    evaluate_rag(pipeline(), rows(), tmp_path, **{**OPTIONS, "gold_passages": False})
    assert not (tmp_path / "answers_gold_passages.jsonl").exists()
    evaluate_rag(pipeline(), rows(), tmp_path, **OPTIONS)
    assert contents(tmp_path) == contents(finished)


# A child process that dies by SIGKILL at one point after the other of one and the same evaluation.
KILLED = """
import os, signal, sys
from support import evaluation_setup as evaluation_setup
import onegen_hf.evaluation.rag as module
import onegen_hf.evaluation.runs.runner as runner
from onegen_hf import OneGenForCausalLM, OneGenRagPipeline, PassageIndex
from onegen_hf.modeling import load_tokenizer
from onegen_hf.evaluation.runs.results_file import ResultsFile
from onegen_hf.evaluation.runs.run_directory import RunDirectory

checkpoint, root = sys.argv[1:3]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
append, claim, write = ResultsFile.append, RunDirectory._claim, RunDirectory.write
calls = 0

def after_settings(self, settings):
    claim(self, settings)
    die()

def in_the_middle_of_a_line(self, results):
    append(self, results)
    with self.path.open("rb+") as stream:
        stream.truncate(self.path.stat().st_size - 7)
    die()

def in_the_second_block(self, results):
    global calls
    calls += 1
    if calls == 2:
        append(self, results[: max(1, len(results) // 2)])
        die()
    append(self, results)

def with_half_a_line_of_utf8(self, results):
    with self.path.open("ab") as stream:
        stream.write('{"id": "q'.encode() + "\\u00e4".encode()[:1])
    die()

def between_the_two_reports(self, name, text):
    if name == "report.json":
        die()
    write(self, name, text)

POINTS = [
    (RunDirectory, "_claim", after_settings), (ResultsFile, "append", in_the_middle_of_a_line),
    (ResultsFile, "append", in_the_second_block), (ResultsFile, "append", with_half_a_line_of_utf8),
    (ResultsFile, "append", in_the_second_block), (RunDirectory, "write", between_the_two_reports),
]

def evaluate(out, batch_size):
    model = OneGenForCausalLM.from_pretrained(checkpoint)
    index = PassageIndex.load(checkpoint + "/index")
    rag = OneGenRagPipeline(model=model, tokenizer=load_tokenizer(checkpoint), index=index)
    module.evaluate_rag(rag, evaluation_setup.rows(), out, max_new_tokens=48, batch_size=batch_size,
                        gold_passages=True, dataset="two_questions", show_progress=False)

def in_a_child(out, batch_size, owner=None, name=None, hook=None):
    pid = os.fork()  # before any forward: no thread is lost
    if pid == 0:
        if owner is not None:
            setattr(owner, name, hook)
        evaluate(out, batch_size)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)

killed, batch_size = f"{root}/killed", int(sys.argv[3])
for owner, name, hook in POINTS:
    assert in_a_child(killed, batch_size, owner, name, hook) == signal.SIGKILL, hook.__name__
    print(hook.__name__)
assert in_a_child(killed, batch_size) == in_a_child(f"{root}/whole", batch_size) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_killed_at_any_point_it_ends_with_the_same_bytes(batch_size: int, tmp_path: Path) -> None:
    # One thread, and the uninterrupted run beside the killed ones: scores differ in the last bit between a process of
    # one thread and one of two.
    ran = ForkedPython(KILLED, str(evaluation_setup.checkpoint()), str(tmp_path), str(batch_size))
    assert ran.wait() == 0, ran.stderr[-3000:]
    assert ran.stdout.count("\n") == 6
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 2}, "k was 1 and is now 2"),
        ({"max_new_tokens": 40}, "max_new_tokens was 48 and is now 40"),
        ({"batch_size": 2}, "batch_size was 1 and is now 2"),
        ({"max_hops": 1}, "max_hops was 5 and is now 1"),
    ],
)
def test_other_options_are_refused(finished: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_rag(pipeline(), rows(), finished, **{**OPTIONS, **changed})


def test_another_model_index_or_data_is_refused(finished: Path) -> None:
    rag = pipeline()
    with pytest.raises(ValueError, match="examples.digest was"):
        evaluate_rag(rag, [{**rows()[0], "question": "Why?"}, *rows()[1:]], finished, **OPTIONS)
    edited = [
        {**document, "sentences": ["New text."]} if document["id"] == "d7" else document for document in DOCUMENTS
    ]
    other = PassageIndex.build(rag.model, rag.tokenizer, edited, show_progress=False)
    with pytest.raises(ValueError, match="index.sampled_passages was"):
        evaluate_rag(
            OneGenRagPipeline(model=rag.model, tokenizer=rag.tokenizer, index=other), rows(), finished, **OPTIONS
        )
    weight = next(rag.model.parameters()).data
    before = float(weight[5, 5])
    try:
        weight[5, 5] += 1e-6  # far below what the fingerprint of an index sees
        with pytest.raises(ValueError, match="model.weights was"):
            evaluate_rag(rag, rows(), finished, **OPTIONS)
    finally:
        weight[5, 5] = before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 0}, "k=0 must be at least 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"max_hops": -1}, "max_hops=-1 must be at least 0"),
    ],
)
def test_options_out_of_range(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_rag(pipeline(), rows(), **{**OPTIONS, **changed})


def test_a_prompt_longer_than_the_context() -> None:
    long = {"id": "long", "question": "where " * 600}
    with pytest.raises(ValueError, match="the prompt of example 'long' takes .* the model's context holds 512"):
        evaluate_rag(pipeline(), [*rows([0]), long], **OPTIONS)


def test_nothing_is_kept_without_a_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    data = Dataset.from_list(rows([0]), split="dev")
    report = evaluate_rag(pipeline(), data, max_new_tokens=48, show_progress=False)
    assert report.split == "dev" and report.dataset == "examples"
    assert report.results["retrieved"].all.metrics["exact_match"].value == 1.0
    assert list(tmp_path.iterdir()) == []


def test_no_answer_and_no_hop_to_score() -> None:
    report = evaluate_rag(pipeline(), [{"id": "x", "question": "Why?"}], max_new_tokens=4, show_progress=False)
    assert set(report.results["retrieved"].all.metrics) == {
        "answered", "retrieval_frequency", "hops", "forwarded_tokens",
    }  # fmt: skip
    assert report.model_index()


def test_sentences_are_supporting_facts_where_sentences_are_searched(tmp_path: Path) -> None:
    model = copy.deepcopy(pipeline().model)
    model.onegen_config.granularity = "sentence"
    tokenizer = pipeline().tokenizer
    index = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index)
    facts = {"supporting_facts": [["Tin Boat", 0], ["Ada Moll", 0]]}
    report = evaluate_rag(rag, [{**rows([0])[0], "meta": facts}], tmp_path, max_new_tokens=48, show_progress=False)
    passages = [retrieval["passages"][0] for retrieval in answers(tmp_path)[0]["retrievals"]]
    titles = {document["title"]: len(document["sentences"]) for document in DOCUMENTS}
    assert passages and all(0 <= passage["sentence"] < titles[passage["title"]] for passage in passages)
    found = {(passage["title"], passage["sentence"]) for passage in passages}
    shared = len(found & {("Tin Boat", 0), ("Ada Moll", 0)})
    expected = 2 * shared / (len(found) + 2)
    assert report.results["retrieved"].all.metrics["sp_f1"].value == pytest.approx(expected)
