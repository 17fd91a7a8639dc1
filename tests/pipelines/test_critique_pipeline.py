"""Critique through the pipeline: candidates with their parts, closed sets, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.decoding_setup import Setup
from support.reflection_setup import reflection_setup

from onegen_hf import OneGenRagPipeline
from onegen_hf.generation import CritiqueSettings
from onegen_hf.generation.critique.answers import sum_by_answer
from onegen_hf.generation.critique.row import CritiqueRow
from onegen_hf.generation.critique.scores import SegmentScore

QUESTIONS = ["Where is Tin Boat?", "Who?", "Say a town by the sea.", "Is it a hill or a bay?"]
OPTIONS: dict[str, Any] = {"k": 4, "retrieval": "always", "max_new_tokens": 16}


@pytest.fixture(scope="module")
def rag(base_tokenizer: Any) -> OneGenRagPipeline:
    setup, _ = reflection_setup(base_tokenizer)
    return OneGenRagPipeline(model=setup.model, tokenizer=setup.tokenizer, index=setup.index, device="cpu")


def test_the_result_holds_every_candidate_with_its_parts(rag: OneGenRagPipeline) -> None:
    weights = CritiqueSettings(w_rel=0.5, w_sup=2.0, w_use=1.5)
    for result in rag(QUESTIONS, critique=weights, batch_size=4, **OPTIONS):
        assert len(result.candidates) == 4 and [candidate.rank for candidate in result.candidates] == [0, 1, 2, 3]
        for each in result.candidates:
            parts = (0.5 * (each.relevance or 0), 2.0 * (each.support or 0), 1.5 * (each.utility or 0))
            assert each.score == pytest.approx(each.probability + sum(parts))
        (chosen,) = (candidate for candidate in result.candidates if candidate.chosen)
        assert chosen.score == result.score == max(candidate.score for candidate in result.candidates)
        assert [segment.passage_id for segment in result.segments] == [chosen.passage.id]
        # The passage that was read stands first among those of the hop.
        assert result.retrievals[0].passages[0] == chosen.passage and len(result.retrievals[0].passages) == 4
        assert chosen.text in result.text and not any(token in result.answer for token in ("[Relevant]", "[Utility"))
        assert json.loads(json.dumps(result)) == result


def test_a_batch_equals_single_questions(rag: OneGenRagPipeline) -> None:
    together = rag(QUESTIONS, critique=True, batch_size=3, **OPTIONS)
    for question, result in zip(QUESTIONS, together, strict=True):
        alone = rag(question, critique=True, **OPTIONS)
        assert (alone.text, alone.usage) == (result.text, result.usage)
        assert [c.text for c in alone.candidates] == [c.text for c in result.candidates]


def test_without_critique_nothing_is_added(rag: OneGenRagPipeline) -> None:
    plain = rag(QUESTIONS[0], **OPTIONS)
    assert plain == rag(QUESTIONS[0], critique=False, **OPTIONS)
    assert not {"candidates", "segments", "score", "answer_scores"} & set(plain)


def test_the_answer_of_a_long_form_is_its_segments(rag: OneGenRagPipeline) -> None:
    options = {**OPTIONS, "max_new_tokens": 40, "k": 2}
    several = 0
    for result in rag(QUESTIONS, critique=CritiqueSettings(depth=4), batch_size=4, **options):
        several += len(result.segments) > 1
        assert result.answer.split() == " ".join(segment.text for segment in result.segments).split()
        assert result.retrievals[0].passages[0].id in {segment.passage_id for segment in result.segments}
    assert several


def test_the_next_turn_of_a_chat_keeps_what_the_answer_was_written_after(rag: OneGenRagPipeline) -> None:
    result = rag(QUESTIONS[0], critique=True, **OPTIONS)
    (chosen,) = (candidate for candidate in result.candidates if candidate.chosen)
    message = result.as_message()
    assert [passage.id for passage in message["retrievals"][0]["passages"]] == [chosen.passage.id]
    assert len(result.retrievals[0].passages) == 4 and message["content"] == result.content
    chat = [{"role": "user", "content": QUESTIONS[0]}, message, {"role": "user", "content": QUESTIONS[1]}]
    ids = rag.preprocess(chat)["prompt"]
    assert ids.count(rag.describer.ids.paragraph_close) == 1


def test_ignored_segments_stay_out_of_the_answer(rag: OneGenRagPipeline) -> None:
    options = {**OPTIONS, "max_new_tokens": 40, "k": 2}
    questions = [f"{one} is {other}?" for one in ("boat", "sea", "hill", "bay") for other in ("red", "grey", "north")]
    left_out = 0
    contradicted = rag.tokenizer.convert_tokens_to_ids("[No support / Contradictory]")
    options["sequence_bias"] = {(contradicted,): 5.0}
    whole = rag(questions, critique=CritiqueSettings(depth=4), batch_size=4, **options)
    ignoring = CritiqueSettings(depth=4, ignore_continue=True)
    for plain, result in zip(whole, rag(questions, critique=ignoring, batch_size=4, **options), strict=True):
        assert plain.text == result.text and not any(segment.left_out for segment in plain.segments)
        kept = [segment.text for segment in result.segments if not segment.left_out]
        assert result.answer.split() == " ".join(kept).split()
        left_out += len(result.segments) - len(kept)
    assert left_out


def scored(total: float, text: int) -> CritiqueRow:
    row = CritiqueRow.start(0, [1])
    row.begin(None, 0, 1)
    row.write(text)
    row.segments[0].tokens = 1
    row.segments[0].score = SegmentScore(total, 0, None, None, None)
    return row


def test_scores_of_equal_answers_are_added_up() -> None:
    # B has the best candidate, A the higher sum: 1.0 + 0.9 against 1.5.
    rows = [scored(1.0, 65), scored(1.5, 66), scored(0.9, 65), scored(0.2, 67)]
    best, sums = sum_by_answer(rows, lambda ids: "".join(map(chr, ids)))
    assert best is rows[0] and list(sums) == ["A", "B", "C"]
    assert sums == pytest.approx({"A": 1.9, "B": 1.5, "C": 0.2})


def test_a_closed_set_names_the_sums(rag: OneGenRagPipeline) -> None:
    for result in rag(QUESTIONS, critique=CritiqueSettings(closed_set=True), batch_size=4, **OPTIONS):
        assert sum(result.answer_scores.values()) == pytest.approx(sum(c.score for c in result.candidates))
        assert " ".join(result.answer.split()) == next(iter(result.answer_scores))


def test_what_is_refused(rag: OneGenRagPipeline, llama: Setup) -> None:
    plain = OneGenRagPipeline(model=llama.model, tokenizer=llama.tokenizer, index=llama.index, device="cpu")
    with pytest.raises(ValueError, match="critique=.* needs Self-RAG's reflection tokens"):
        plain("Who?", critique=True)
    assert plain("Who?", retrieval="always", max_new_tokens=8)
    with pytest.raises(TypeError, match="critique='yes'"):
        rag("Who?", critique="yes")
    with pytest.raises(ValueError, match="critique: which text is the answer is known only at the end"):
        next(rag.stream("Who?", critique=True))
