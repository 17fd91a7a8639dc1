"""2WikiMultihopQA's facts become hops whose subjects are known, in whatever form the facts come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.builder_records import PASSAGES, build, record, write_lines

from data_builders.errors import RecordError
from data_builders.multi_hop.converter import MultiHopConverter
from data_builders.multi_hop.evidences import Fact, hops_from_facts, read_facts
from data_builders.multi_hop.relations import ask

CHAIN = [["The Tin Boat", "director", "Ada Moll"], ["Ada Moll", "date of birth", "4 May 1950"]]
FORMS: dict[str, Any] = {
    "triples": CHAIN,
    "columns": {
        "fact": [fact[0] for fact in CHAIN],
        "relation": [fact[1] for fact in CHAIN],
        "entity": [fact[2] for fact in CHAIN],
    },
    "objects": [{"relation": r, "object": o, "subject": s} for s, r, o in CHAIN],
    "json text": json.dumps(CHAIN),
    "python text": str([tuple(fact) for fact in CHAIN]),
}


def two_wiki(evidences: Any, **changes: Any) -> dict[str, Any]:
    return record(**{"decomposition": None, "evidences": evidences, **changes})


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_given_decomposition(tmp_path: Path, form: str) -> None:
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [two_wiki(FORMS[form])]))
    expected = build(tmp_path / "given", write_lines(tmp_path / "b.jsonl", [record()]))
    assert built.examples[0]["messages"] == expected.examples[0]["messages"]
    assert built.counts["meta"]["decomposition"] == {"evidences": 1}
    assert "evidences" in json.loads(built.examples[0]["meta"])


def test_bridges_come_before_what_is_compared() -> None:
    facts = read_facts(
        [
            ["Ada Moll", "date of birth", "4 May 1950"],
            ["The Tin Boat", "director", "Ada Moll"],
            ["Ben Oak", "date of birth", "7 June 1950"],
            ["The Red Kite", "director", "Ben Oak"],
            ["The Red Kite", "director", "Ben Oak"],
        ]
    )
    hops = hops_from_facts(facts, list(PASSAGES), " ".join)
    assert [hop.title for hop in hops] == ["The Tin Boat", "The Red Kite", "Ada Moll", "Ben Oak"]
    assert [hop.sub_question for hop in hops][::2] == ["Who directed The Tin Boat?", "When was Ada Moll born?"]


def test_a_circle_of_facts_begins_with_the_first() -> None:
    facts = [Fact("A", "spouse", "B"), Fact("B", "spouse", "A")]
    assert [hop.title for hop in hops_from_facts(facts, ["B", "A"], str)] == ["A", "B"]


@pytest.mark.parametrize(
    ("subject", "title", "text"),
    [
        ("the tin  boat", "The Tin Boat", ""),
        ("The Tin Boat", "The Tin Boat (1962 film)", ""),
        ("Tin Boat", "Das Zinnboot", "Das Zinnboot (English: Tin Boat) is a film."),
    ],
)
def test_the_passage_may_be_titled_otherwise(subject: str, title: str, text: str) -> None:
    facts = [Fact(subject, "director", "Ada Moll"), Fact("Ada Moll", "spouse", "Ben Oak")]
    hops = hops_from_facts(facts, ["Ada Moll", title, "Fern Bay"], lambda name: text if name == title else "")
    assert [hop.title for hop in hops] == [title, "Ada Moll"]


def test_facts_about_nothing_that_is_there_fall_back_and_say_so(tmp_path: Path) -> None:
    unknown = [["Somewhere", "country", "Nowhere"]]
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [two_wiki(unknown), two_wiki([])]))
    assert built.counts["meta"]["decomposition"] == {"heuristic": 2}
    assert built.counts["meta"]["decomposition_failure"] == {"unmatched_subject": 1}


@pytest.mark.parametrize(
    "value", [[["a", "b"]], [["a", "b", 3]], {"fact": ["a"], "relation": [], "entity": []}, "x y"]
)
def test_malformed_facts(tmp_path: Path, value: Any) -> None:
    with pytest.raises(RecordError, match=r"a\.jsonl, line 1: `evidences` "):
        build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [two_wiki(value)]))


def test_aliases_of_the_answer(tmp_path: Path) -> None:
    aliases = write_lines(
        tmp_path / "id_aliases.json", [{"Q_id": "Q1", "aliases": ["May the 4th, 1950"], "demonyms": []}]
    )
    path = write_lines(tmp_path / "a.jsonl", [two_wiki(CHAIN, answer_id="Q1"), two_wiki(CHAIN, answer_id=None)])
    converter = MultiHopConverter(entity_aliases=str(aliases))
    built = build(tmp_path / "out", path, converter=converter)
    assert built.examples[0]["answers"] == ["4 May 1950", "May 4, 1950", "May the 4th, 1950"]
    assert built.examples[1]["answers"] == ["4 May 1950", "May 4, 1950"]
    assert built.report["options"]["entity_aliases"] == "id_aliases.json"
    with pytest.raises(ValueError, match="holds no record"):
        MultiHopConverter(entity_aliases=str(write_lines(tmp_path / "b.jsonl", [{"x": 1}])))


@pytest.mark.parametrize(
    ("relation", "question"),
    [
        ("director", "Who directed X?"),
        ("Country of Citizenship", "What is the nationality of X?"),
        ("place_of_birth", "Where was X born?"),
        ("favourite colour", "What is the favourite colour of X?"),
    ],
)
def test_questions_for_relations(relation: str, question: str) -> None:
    assert ask("X", relation) == question
    assert ask("{}", relation) == question.replace("X", "{}")
