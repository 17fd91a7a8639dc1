"""How sure an answer is: the worst retrieval, the probabilities of its tokens, and the threshold on the first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from support.evaluation_setup import pipeline, rows
from transformers import LogitsProcessor

from onegen_hf import OneGenConfig
from onegen_hf.generation.answer_confidence import answer_confidence
from onegen_hf.generation.state import RowState
from onegen_hf.pipelines.confidence import retrieval_confidence, why_withheld, withhold

pytestmark = pytest.mark.xdist_group("evaluation")

QUESTIONS = [row["question"] for row in rows([0, 1])]
OPTIONS: dict[str, Any] = {"max_new_tokens": 48}


def row_of(pieces: Sequence[Sequence[str]], probabilities: Sequence[float | None]) -> tuple[RowState, Any]:
    """A row that wrote each piece, asked between two, and got one passage token; and its vocabulary's decoder."""
    words = ["<prompt>", "<query>", "<passage>", "<end>", *dict.fromkeys(word for piece in pieces for word in piece)]
    row = RowState.start(0, [0])
    hops: list[Any] = []
    from onegen_hf.generation import Retrieval

    values = iter(probabilities)
    for number, piece in enumerate(pieces):
        if number:
            row.write(1, 0.0)
            hops.append(Retrieval(number - 1, len(row.ids) - 1, [], 1, torch.zeros(1)))
            row.insert([2])
        for word in piece:
            value = next(values)
            row.write(words.index(word), None if value is None else math.log(value))
    row.retrievals = hops
    return row, lambda ids: "".join("" if words[token][0] == "<" else words[token] for token in ids)


@pytest.mark.parametrize(
    ("pieces", "probabilities", "expected"),
    [
        ([["Answer:", " a", " b"]], [0.1, 0.5, 0.5], 0.5),
        ([["Answer:", " a", " b", "<end>"]], [0.1, 0.9, 0.4, 0.6], (0.9 * 0.4 * 0.6) ** (1 / 3)),
        ([["x", "\n"], ["Ans", "wer", ":", " a"]], [0.1, 0.1, 0.2, 0.2, 0.2, 0.7], 0.7),
        ([["Answer:", " a"], ["Answer:", " b"]], [0.1, 0.2, 0.1, 0.8], 0.8),  # after the last prefix
        ([["Answer:", " a"], [" b"]], [0.1, 0.5, 0.5], 0.5),  # over two spans
        ([["Answer", ":a", " b"]], [0.1, 0.9, 0.4], 0.6),  # a token of both belongs to the answer
        ([["a", " b"]], [0.5, 0.5], None),  # no prefix
        ([["Answer:"]], [0.5], None),
        ([["Answer:", " a"]], [0.5, None], None),
    ],
)
def test_the_tokens_of_the_answer(
    pieces: list[list[str]], probabilities: list[float | None], expected: float | None
) -> None:
    row, text_of = row_of(pieces, probabilities)
    assert answer_confidence(row, text_of, OneGenConfig(), 1) == pytest.approx(expected)


def test_prefixes_and_suffixes_of_other_checkpoints() -> None:
    row, text_of = row_of([["(", "a", " b", ")", " c"]], [0.1, 0.9, 0.4, 0.2, 0.3])
    between = OneGenConfig(answer_prefix="(", answer_suffix=")")
    assert answer_confidence(row, text_of, between, 1) == pytest.approx(0.6)
    row, text_of = row_of([["a"], [" b"]], [0.9, 0.4])
    assert answer_confidence(row, text_of, OneGenConfig(answer_prefix=""), 1) == pytest.approx(0.6)


def test_an_engine_without_probabilities() -> None:
    row, text_of = row_of([["Answer:", " a"]], [0.5, 0.5])
    row.log_probabilities = []
    assert answer_confidence(row, text_of, OneGenConfig(), 1) is None


def test_the_worst_retrieval_counts() -> None:
    assert retrieval_confidence([0.9, 0.4, 0.7]) == 0.4
    assert retrieval_confidence([0.9, None]) == 0.0
    assert retrieval_confidence([]) is None


def recomputed(result: Mapping[str, Any], question: str) -> float:
    """The probability of an answer by one plain forward over the whole text."""
    rag = pipeline()
    written = rag.tokenizer(result["text"], add_special_tokens=False)["input_ids"] + [rag.tokenizer.eos_token_id]
    prompt = rag.preprocess(question)["prompt"]
    after_prefix = rag.tokenizer(result["text"].rpartition("Answer:")[0] + "Answer:", add_special_tokens=False)
    first = len(prompt) + len(after_prefix["input_ids"])
    ids = torch.tensor([prompt + written])
    with torch.no_grad():
        logs = rag.model(input_ids=ids).logits[0].float().log_softmax(dim=-1)
    each = logs[torch.arange(first - 1, ids.shape[1] - 1), ids[0, first:]]
    return math.exp(float(each.mean()))


def test_as_a_plain_forward_has_it() -> None:
    rag = pipeline()
    alone = [rag(question, **OPTIONS) for question in QUESTIONS]
    for result, question in zip(alone, QUESTIONS, strict=True):
        scores = [hop.passages[0].score for hop in result.retrievals]
        assert result.answered and result.stop_reason == "eos" and result.answer_threshold is None
        assert result.retrieval_confidence == min(scores)
        assert result.answer_confidence == pytest.approx(recomputed(result, question), abs=1e-5)
        assert 0.5 < result.answer_confidence < 1
        assert result.confidence == result.retrieval_confidence * result.answer_confidence
    together = rag(QUESTIONS, batch_size=2, **OPTIONS)
    drafted = [rag(question, prompt_lookup_num_tokens=8, **OPTIONS) for question in QUESTIONS]
    streamed = [list(rag.stream(question, **OPTIONS))[-1].result for question in QUESTIONS]  # type: ignore[attr-defined]
    assert sum(result.usage.forward_calls for result in drafted) < sum(result.usage.forward_calls for result in alone)
    for others in (together, drafted, streamed):
        for name in ("confidence", "retrieval_confidence", "answer_confidence"):
            expected = pytest.approx([result[name] for result in alone], abs=1e-5)
            assert [result[name] for result in others] == expected


class Halving(LogitsProcessor):
    """Halves all scores in place, which changes no choice."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.mul_(0.5)


def test_processors_do_not_count() -> None:
    rag = pipeline()
    expected = rag(QUESTIONS[1], **OPTIONS)
    for others in ({"logits_processor": [Halving()]}, {"do_sample": True, "top_k": 1, "temperature": 0.1}):
        result = rag(QUESTIONS[1], **OPTIONS, **others)
        assert result.text == expected.text
        assert result.answer_confidence == pytest.approx(expected.answer_confidence, abs=1e-6)


def test_an_answer_without_retrieval_has_no_confidence() -> None:
    result = pipeline()(QUESTIONS[1], retrieval="never", answer_threshold=0.9, **OPTIONS)
    assert result.retrievals == [] and result.retrieval_confidence is None and result.confidence is None
    assert result.answered is bool(result.answer)  # a threshold on retrieval does not concern it


def test_below_the_threshold_the_answer_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    rag = pipeline()
    given = rag(QUESTIONS[0], **OPTIONS)
    score = given.retrieval_confidence
    above = math.nextafter(score, 1)
    withheld = rag(QUESTIONS[0], answer_threshold=above, **OPTIONS)
    assert type(withheld) is type(given)
    assert withheld == {
        **given, "answer": "", "answered": False, "citations": [], "confidence": None, "answer_threshold": above,
    }  # fmt: skip
    assert rag(QUESTIONS[0], answer_threshold=score, **OPTIONS) == {**given, "answer_threshold": score}
    assert list(rag.stream(QUESTIONS[0], answer_threshold=above, **OPTIONS))[-1].result == withheld  # type: ignore
    monkeypatch.setattr(rag.model.onegen_config, "answer_threshold", above)  # as a checkpoint keeps it
    assert rag(QUESTIONS[0], **OPTIONS) == withheld
    assert rag(QUESTIONS[0], answer_threshold=-math.inf, **OPTIONS) == given
    assert rag(QUESTIONS[0], answer_threshold=score, **OPTIONS).answered


def test_withholding_results_that_were_stored() -> None:
    stored = {"answer": "a", "answered": True, "citations": [1], "confidence": 0.3, "retrieval_confidence": 0.4}
    assert withhold(stored, None) is stored and withhold(stored, -math.inf) is stored
    assert withhold(stored, 0.4) == {**stored, "answer_threshold": 0.4}
    assert withhold(stored, 0.41)["answer"] == "" and stored["answer"] == "a"


@pytest.mark.parametrize("value", [float("nan"), "high", True])
def test_thresholds_that_are_none(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="answer_threshold="):
        pipeline()("Who?", answer_threshold=value)
    with pytest.raises((TypeError, ValueError), match="answer_threshold="):
        OneGenConfig(answer_threshold=value)


@pytest.mark.parametrize(
    ("score", "threshold", "shown"),
    [
        (0.41, 0.512, "best score 0.41, threshold 0.51"),
        (0.537, 0.54, "best score 0.537, threshold 0.540"),
        (0.53999, 0.54, "best score 0.53999, threshold 0.54000"),
    ],
)
def test_the_reason_tells_score_and_threshold_apart(score: float, threshold: float, shown: str) -> None:
    result = {"answered": False, "answer": "", "retrieval_confidence": score, "answer_threshold": threshold}
    assert why_withheld(result) == f"The passages do not answer this: {shown}"
