"""Reflection tokens by rule: hand-worked turns, shares, and a build that a Self-RAG checkpoint can train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.builder_records import build

from data_builders.documents import Document, DocumentStore
from data_builders.errors import RecordError
from data_builders.hard_negatives import make_miner
from data_builders.single_hop.reflection_rule import support_of, with_reflection
from data_builders.single_hop.squad import SquadConverter
from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.data.chat_rendering import split_assistant


@pytest.fixture
def documents() -> DocumentStore:
    store = DocumentStore()
    store.put(Document("right", "Boats", ("The boat is red.",)))
    store.put(Document("wrong", "Ships", ("The ship is long.", "It sails.")))
    return store


def example(**changes: Any) -> dict[str, Any]:
    turn = "What colour?[RQ]<paragraph>Boats\nThe boat is red.</paragraph> red\nAnswer: red"
    return {
        "id": "q",
        "messages": [{"role": "user", "content": "What colour?"}, {"role": "assistant", "content": turn}],
        "positives": [["right"]],
        "negatives": [["wrong#1"]],
        "question": "What colour?",
        "answers": ["red"],
        "meta": "{}",
        **changes,
    }


def turn_of(record: dict[str, Any]) -> str:
    return str(record["messages"][-1]["content"])


def test_the_own_passage_is_relevant(documents: DocumentStore) -> None:
    (made,) = with_reflection([example()], documents)
    assert turn_of(made) == (
        "[Retrieval][RQ]<paragraph>Boats\nThe boat is red.</paragraph>[Relevant]Answer: red"
        "[Fully supported][Utility:5]"
    )
    assert (made["positives"], made["negatives"], made["answers"]) == ([["right"]], [["wrong#1"]], ["red"])


def test_a_hard_negative_is_irrelevant(documents: DocumentStore) -> None:
    (made,) = with_reflection([example()], documents, irrelevant_share=1.0)
    assert turn_of(made) == (
        "[Retrieval][RQ]<paragraph>Ships\nThe ship is long. It sails.</paragraph>[Irrelevant]"
        "The passages do not answer this question.[No support / Contradictory][Utility:1]"
    )
    assert made["positives"] == [["right"]] and made["answers"] == []
    assert json.loads(made["meta"]) == {"inserted": "wrong", "relevance": ["irrelevant"]}


def test_a_question_with_its_passage_needs_no_retrieval(documents: DocumentStore) -> None:
    (made,) = with_reflection([example()], documents, given_share=1.0)
    assert turn_of(made) == "[No Retrieval]Answer: red[Utility:5]"
    assert made["messages"][0]["content"] == made["question"] == "Boats\nThe boat is red.\n\nWhat colour?"
    assert made["positives"] == made["negatives"] == [] and made["answers"] == ["red"]


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ("red", "[Fully supported]"),
        ("Red boat", "[Partially supported]"),  # both words, but not in a row
        ("a red ship", "[No support / Contradictory]"),  # one word of three
        ("red lorry", "[Partially supported]"),
        ("", "[No support / Contradictory]"),
    ],
)
def test_support_counts_words(documents: DocumentStore, answer: str, token: str) -> None:
    assert support_of(documents["right"], [answer]) == token


def test_the_shares_are_met_and_seeded(documents: DocumentStore) -> None:
    examples = [example(id=str(n)) for n in range(1000)]
    made = list(with_reflection(examples, documents, irrelevant_share=0.3, given_share=0.2))
    kinds = [json.loads(record["meta"])["relevance"] for record in made]
    assert kinds.count(["irrelevant"]) == pytest.approx(300, abs=45) and kinds.count([]) == pytest.approx(200, abs=40)
    assert made == list(with_reflection(examples, documents, irrelevant_share=0.3, given_share=0.2))
    without = [example(negatives=[[]])] * 3
    assert all("[Relevant]" in turn_of(each) for each in with_reflection(without, documents, irrelevant_share=1.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"positives": [["right"], ["right"]], "negatives": [[], []]},
        {"answers": []},
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "[RQ]"}]},
    ],
)
def test_other_examples_are_refused(documents: DocumentStore, changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="example 'q' has .* query tokens; reflection tokens are made for one"):
        list(with_reflection([example(**changes)], documents))


@pytest.mark.parametrize(
    ("shares", "message"),
    [((1.5, 0), "`irrelevant_share` must be between 0 and 1"), ((0.7, 0.7), "must be at most 1 together")],
)
def test_faulty_shares(documents: DocumentStore, shares: tuple[float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(with_reflection([example()], documents, *shares))


def test_a_build_with_reflection(tmp_path: Path) -> None:
    people, towns = (
        ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal"),
        ("Elm", "Fern", "Moss", "Reed", "Sorrel"),
    )
    rows = [
        {
            "id": f"{person} {town}",
            "question": f"Which boat does {person} of {town} own?",
            "answers": [f"the {town.lower()}{person.lower()}"],
            "context": f"{person} grew up in {town} and later bought the {town.lower()}{person.lower()}.",
        }
        for person in people
        for town in towns
    ]
    source = tmp_path / "train.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    built = build(tmp_path / "out", source, converter=SquadConverter(), miner=make_miner("bm25", 2), reflection=True)
    turns = [turn_of(record) for record in built.examples]
    assert sum(turn.startswith("[Retrieval][RQ]<paragraph>") for turn in turns) > 20
    assert sum("[Irrelevant]" in turn for turn in turns) > 3 and sum("[No Retrieval]" in turn for turn in turns) > 3
    assert built.report["options"]["reflection"] is True
    config = OneGenConfig(tokens=RetrievalTokens.self_rag())
    for record, turn in zip(built.examples, turns, strict=True):
        kinds = [kind for kind, _ in split_assistant(turn, config)]
        assert kinds.count("query") == len(record["positives"]) == len(record["negatives"])
    with pytest.raises(ValueError, match="`unanswerable_share`=0.5 is for data without reflection tokens"):
        build(tmp_path / "other", source, converter=SquadConverter(), reflection=True, unanswerable_share=0.5)
