"""Self-RAG's evaluation files: the task, the prompt, the answers, and which passages are positive."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data_builders.answer_matching import holds_answer
from data_builders.documents import DocumentStore
from data_builders.errors import RecordError
from data_builders.schema import validate_example
from data_builders.single_hop.self_rag_eval import SelfRagEvalConverter

CTXS = [
    {"id": "11", "title": "Elm Hill", "text": "Elm Hill is a hill.", "score": "0.9"},
    {"title": "The Tin Boat", "text": "It was built by ada  moll, in 1950."},
    {"title": "Ada Moll", "text": "She built boats."},
    {"title": "Adam Ollie", "text": "Ada Mollson is not meant."},
]
QUESTION = {"question": "Who built the boat?", "answers": ["Ada Moll", "A. Moll"], "ctxs": CTXS}
CHOICES = {"text": ["oxygen", "neon", "tin", "salt"], "label": ["A", "B", "C", "D"]}
ARC = {"id": "M_1", "question": "Which one is a gas that glows?", "choices": CHOICES, "answerKey": "B"}


def convert(record: dict[str, Any], **options: Any) -> dict[str, Any]:
    converter, store = SelfRagEvalConverter(**options), DocumentStore()
    converter.add_documents(record, store)
    example = converter.example(record, store, "file-1")
    validate_example(example, store)
    return {**example, "meta": json.loads(example["meta"])}


def test_open_question() -> None:
    example = convert(QUESTION)
    assert example == {
        "id": "file-1",
        "messages": [
            {"role": "user", "content": "Who built the boat?"},
            {
                "role": "assistant",
                "content": "[Retrieval][RQ]<paragraph>The Tin Boat\nIt was built by ada  moll, in 1950.</paragraph>"
                "Ada Moll",
            },
        ],
        "positives": [["The Tin Boat", "Ada Moll"]],
        "negatives": [["Elm Hill", "Adam Ollie"]],
        "question": "Who built the boat?",
        "answers": ["Ada Moll", "A. Moll"],
        "meta": {"task": "triviaqa", "metric": "match", "question": "Who built the boat?"},
    }


def test_what_the_file_says_about_a_passage_counts() -> None:
    flags = [True, False, None, False]
    ctxs = [{**ctx, "hasanswer": flag} for ctx, flag in zip(CTXS, flags, strict=True)]
    example = convert({**QUESTION, "ctxs": ctxs}, num_negatives=1)
    assert example["positives"] == [["Elm Hill", "Ada Moll"]]  # what it leaves open is looked up
    assert example["negatives"] == [["The Tin Boat"]]


@pytest.mark.parametrize("ctxs", [None, [], CTXS[:1]])
def test_without_a_positive_the_paragraph_is_empty(ctxs: Any) -> None:
    example = convert({**QUESTION, "ctxs": ctxs})
    assert example["positives"] == [[]]
    assert example["messages"][1]["content"] == "[Retrieval][RQ]<paragraph></paragraph>Ada Moll"


@pytest.mark.parametrize(
    "changes",
    [
        {"answers": None, "possible_answers": '["Ada Moll", "A. Moll"]'},
        {"answers": None, "answer": {"value": "Ada Moll", "aliases": ["A. Moll", "Ada Moll"]}},
        {"answers": None, "output": ["Ada Moll", "A. Moll"]},
        {"question": None, "instruction": "Who built the boat?"},
        {"ctxs": None, "top_contexts": CTXS},
    ],
)
def test_other_names_of_the_fields(changes: dict[str, Any]) -> None:
    example = convert({**QUESTION, **changes})
    assert example["answers"] == ["Ada Moll", "A. Moll"]
    assert example["question"] == "Who built the boat?"
    assert example["positives"] == [["The Tin Boat", "Ada Moll"]]


def test_passages_without_text_are_counted() -> None:
    example = convert({**QUESTION, "ctxs": [*CTXS, {"title": "Oak", "text": " "}, {"title": "Elm"}]})
    assert example["meta"]["contexts_without_text"] == 2
    assert example["positives"] == [["The Tin Boat", "Ada Moll"]]


def test_arc_shows_its_choices() -> None:
    ctxs = [{"title": "Tin", "text": "B is a letter."}, {"title": "Gas", "text": "Neon glows."}]
    example = convert({**ARC, "ctxs": ctxs})
    assert example["id"] == "M_1"
    assert example["messages"][0]["content"].endswith(
        "\n\nWhich one is a gas that glows?\nA: oxygen\nB: neon\nC: tin\nD: salt"
    )
    assert example["question"] == example["messages"][0]["content"]
    assert example["answers"] == ["B"]
    assert example["messages"][1]["content"].endswith("</paragraph>B")
    assert (example["positives"], example["negatives"]) == ([["Gas"]], [["Tin"]])
    assert example["meta"] == {
        "task": "arc_challenge",
        "metric": "accuracy",
        "question": ARC["question"],
        "choices": {"A": "oxygen", "B": "neon", "C": "tin", "D": "salt"},
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"choices": {**CHOICES, "label": ["1", "2", "3", "4"]}, "answerKey": "2"},
        {"choices": [{"text": t, "label": n} for t, n in zip(CHOICES["text"], "ABCD", strict=True)]},
        {
            "choices": None,
            "question": {
                "stem": ARC["question"],
                "choices": [{"text": t, "label": n} for t, n in zip(CHOICES["text"], "ABCD", strict=True)],
            },
        },
        {"answerKey": None, "answers": ["B"]},
    ],
    ids=["numbers", "list", "original", "answers"],
)
def test_arc_layouts_give_one_example(changes: dict[str, Any]) -> None:
    assert convert({**ARC, **changes}) == convert(ARC)


def test_own_instruction_is_kept_and_not_repeated() -> None:
    full = "Pick one.\nWhich one is a gas that glows?\nA: oxygen\nB: neon\nC: tin\nD: salt"
    assert convert({**ARC, "instruction": full})["question"] == full
    assert convert({**ARC, "instruction": "Pick one."})["question"] == full.replace("one.\n", "one.\n\n")
    assert convert(ARC, instruction="Pick one.")["question"] == full.replace("one.\n", "one.\n\n")


def test_verdicts_are_not_looked_for_in_passages() -> None:
    ctxs = [{"title": "Truth", "text": "What is true is not false."}]
    record = {"question": "Elms cure colds.", "answers": ["SUPPORTS"], "ctxs": ctxs}
    example = convert(record)
    assert (example["positives"], example["negatives"], example["answers"]) == ([[]], [[]], ["true"])
    assert (example["meta"]["task"], example["meta"]["metric"]) == ("pubhealth", "accuracy")
    assert example["question"].endswith("\n\nElms cure colds.")
    assert convert({**record, "ctxs": [{**ctxs[0], "hasanswer": True}]})["positives"] == [["Truth"]]


@pytest.mark.parametrize(
    ("record", "task"),
    [(ARC, "arc_challenge"), ({**QUESTION, "s_pop": 3}, "popqa"), (QUESTION, "triviaqa")],
)
def test_task_is_detected_or_given(record: dict[str, Any], task: str) -> None:
    assert convert(record)["meta"]["task"] == task
    assert convert(QUESTION, task="popqa")["meta"]["task"] == "popqa"


def test_another_layout_of_the_assistant() -> None:
    assert convert(QUESTION, retrieval_token="")["messages"][1]["content"].startswith("[RQ]<paragraph>")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"answers": []}, "has no answer"),
        ({"question": None}, "`question` is missing"),
        ({"question": "a [RQ]"}, "holds '\\[RQ\\]'"),
        ({"ctxs": {"title": "x"}}, "`ctxs` must be a list"),
        ({"ctxs": [{"title": "x", "text": 3}]}, "`text` must be text"),
        ({"answers": None, "possible_answers": "[3"}, "no valid list"),
        ({"choices": {"text": ["a"], "label": []}}, "same length"),
        ({"choices": CHOICES, "answers": ["F"]}, "not among the choices"),
    ],
)
def test_faulty_record_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(RecordError, match=match):
        convert({**QUESTION, **changes})


def test_faulty_options_are_refused() -> None:
    with pytest.raises(ValueError, match="`task` must be"):
        SelfRagEvalConverter(task="qa")
    with pytest.raises(RecordError, match="no verdict"):
        convert(QUESTION, task="pubhealth")


@pytest.mark.parametrize(
    ("text", "answers", "held"),
    [
        ("To Rome!", ["rome"], True),
        ("Romeo", ["Rome"], False),
        ("the U.S. Army", ["U.S."], True),
        ("ﬁlm", ["film"], True),
        ("anything", ["...", ""], False),
        ("anything", [], False),
    ],
)
def test_answers_are_matched_by_words(text: str, answers: list[str], held: bool) -> None:
    assert holds_answer(text, answers) is held


THREE_CHOICES = {"text": ["stone", "wood", "iron"], "label": ["1", "2", "3"]}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"question": "Tea heals.", "answers": ["true"]},
            "Is the following statement correct or not? Say true if it's correct; otherwise say false."
            "\n\n## Input:\n\nTea heals.",
        ),
        (
            {"question": "What floats?", "answerKey": "2", "choices": THREE_CHOICES},
            "Given four answer candidates, A, B, C and D, choose the best answer choice."
            "\n\n### Input:\nWhat floats?\nA: stone\nB: wood\nC: iron\nD: ",
        ),
        ({"question": "Who made it?", "answers": ["Ada"]}, "Who made it?"),
    ],
)
def test_the_official_form(fields: dict[str, Any], expected: str) -> None:
    converter = SelfRagEvalConverter(official=True)
    store = DocumentStore()
    made = converter.example({"id": "1", **fields}, store, "0")
    assert made["question"] == made["messages"][0]["content"] == expected
    with pytest.raises(ValueError, match="`instruction`='Say.' can't take the place of the official ones"):
        SelfRagEvalConverter(official=True, instruction="Say.")


def test_asqa() -> None:
    record = {
        "question": "When did it open?",
        "qa_pairs": [{"short_answers": ["1911"]}, {"short_answers": ["May 1930", "1930"]}],
        "docs": [{"title": "Boats", "text": "It opened in 1930."}, {"title": "Ships", "text": "Nothing."}],
    }
    store = DocumentStore()
    converter = SelfRagEvalConverter(official=True)
    converter.add_documents(record, store)
    made = converter.example(record, store, "0")
    meta = json.loads(made["meta"])
    assert (meta["task"], meta["metric"]) == ("asqa", "str_em") and meta["qa_pairs"] == record["qa_pairs"]
    assert made["answers"] == ["1911", "May 1930", "1930"] and len(made["positives"][0]) == 1
    assert made["question"].endswith("all correct answers.## Input:\n\nWhen did it open?")
    with pytest.raises(RecordError, match="every entry of `qa_pairs` needs `short_answers`"):
        converter.example({**record, "qa_pairs": [{"short_answers": []}]}, store, "0")
