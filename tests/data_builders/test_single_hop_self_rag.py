"""Self-RAG's training records: where the query token stands, what is positive, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_builders.documents import DocumentStore
from data_builders.errors import Dropped, RecordError
from data_builders.schema import validate_example
from data_builders.single_hop.reflection import REFLECTION_TOKENS, parse_output
from data_builders.single_hop.self_rag import SelfRagConverter
from onegen_hf.configuration import OneGenConfig
from onegen_hf.data.chat_rendering import split_assistant
from onegen_hf.tokens import RetrievalTokens

BOAT = "<paragraph>The Tin Boat\nThe Tin Boat was built by Ada Moll.</paragraph>"
KITE = "<paragraph>The Red Kite\nThe Red Kite is a kite.</paragraph>"


def convert(output: Any, converter: SelfRagConverter | None = None, **changes: Any) -> dict[str, Any]:
    converter, store = converter or SelfRagConverter(), DocumentStore()
    record = {"instruction": "Who built the boat?", "input": "", "output": output, "id": "q1", "dataset_name": "nq"}
    record |= changes
    converter.add_documents(record, store)
    example = converter.example(record, store, "file-1")
    validate_example(example, store, converter.query_token)
    return example


def content(example: dict[str, Any]) -> str:
    return example["messages"][1]["content"]


def test_query_token_stands_between_the_decision_and_the_passage() -> None:
    example = convert(f"[Retrieval]{BOAT}[Relevant]Ada Moll.[Fully supported][Utility:5]")
    assert content(example) == f"[Retrieval][RQ]{BOAT}[Relevant]Ada Moll.[Fully supported][Utility:5]"
    assert example["positives"] == [["The Tin Boat"]]
    assert example["negatives"] == [[]]
    assert example["question"] == "Who built the boat?"
    assert example["answers"] == ["Ada Moll."]
    assert json.loads(example["meta"]) == {"dataset_name": "nq", "relevance": ["relevant"], "utility": 5}


def test_irrelevant_passage_is_a_negative_and_no_positive() -> None:
    example = convert(f"[Retrieval]{KITE}[Irrelevant]I guess Ada.[Utility:2]")
    assert (example["positives"], example["negatives"]) == ([[]], [["The Red Kite"]])
    assert convert(f"[Retrieval]{KITE}[Irrelevant]No.", SelfRagConverter(num_negatives=0))["negatives"] == [[]]


def test_every_retrieval_of_an_output_has_its_own_lists() -> None:
    output = (
        f"It floats.[No Retrieval]Yes.[Retrieval]{KITE}[Irrelevant]Hm.[Retrieval]{BOAT}[Relevant]Ada.[Partially "
        f"supported][Continue to Use Evidence]She did.[Retrieval]{BOAT}It did.[Utility:4]"
    )
    example = convert(output)
    assert example["positives"] == [[], ["The Tin Boat"], ["The Tin Boat"]]
    assert example["negatives"] == [["The Red Kite"], [], []]
    assert json.loads(example["meta"])["relevance"] == ["irrelevant", "relevant", "unjudged"]
    assert content(example).replace("[RQ]", "") == output


def test_record_without_retrieval_is_generation_only() -> None:
    example = convert("[No Retrieval]A boat floats.[Utility:5]", id=7)
    assert content(example) == "[No Retrieval]A boat floats.[Utility:5]"
    assert (example["id"], example["positives"], example["negatives"]) == ("7", [], [])


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (f"[Retrieval] \n{BOAT}[Relevant]x", f"[Retrieval][RQ]{BOAT}[Relevant]x"),
        (f"Well {BOAT}[Relevant]x", f"Well [RQ]{BOAT}[Relevant]x"),
        (f"[Retrieval]{BOAT}\n{KITE}[Relevant]x", f"[Retrieval][RQ]{BOAT}{KITE}[Relevant]x"),
        ("[Retrieval]<paragraph>\nA\n\n b \n</paragraph>x", "[Retrieval][RQ]<paragraph>A\nb</paragraph>x"),
        ("[Retrieval]<paragraph>one line</paragraph>x", "[Retrieval][RQ]<paragraph>one line</paragraph>x"),
        ("[Retrieval]<paragraph></paragraph>x", "[Retrieval][RQ]<paragraph></paragraph>x"),
    ],
    ids=["space", "no decision", "two passages", "blank lines", "no title", "nothing found"],
)
def test_variants_of_the_passage(output: str, expected: str) -> None:
    example = convert(output)
    assert content(example) == expected
    assert len(example["positives"]) == 1


def test_two_passages_of_one_retrieval_are_both_positive() -> None:
    assert convert(f"[Retrieval]{BOAT}{KITE}[Relevant]x")["positives"] == [["The Tin Boat", "The Red Kite"]]


def test_passages_of_one_title_stay_apart() -> None:
    converter, store = SelfRagConverter(), DocumentStore()
    records = [
        {"instruction": "q", "output": f"[Retrieval]<paragraph>Oak\n{text}</paragraph>[Relevant]x", "id": text}
        for text in ("first part", "second part", "first part")
    ]
    for record in records:
        converter.add_documents(record, store)
    positives = [converter.example(record, store, "")["positives"][0][0] for record in records]
    assert [store[document_id].text for document_id in positives] == ["first part", "second part", "first part"]
    assert len(store) == 2


def test_passage_that_the_corpus_has_in_other_words_is_refused() -> None:
    store = DocumentStore()
    store.add("The Tin Boat", ["Another text."])
    record = {"instruction": "q", "output": f"[Retrieval]{BOAT}[Relevant]x"}
    with pytest.raises(RecordError, match="no document titled 'The Tin Boat' reads 'The Tin Boat was built"):
        SelfRagConverter().example(record, store, "")


def test_input_joins_the_instruction() -> None:
    example = convert("[No Retrieval]x", instruction="Sum up.", input=" A boat. ")
    assert example["messages"][0]["content"] == "Sum up.\n\n### Input:\nA boat."
    assert convert("[No Retrieval]x", input=None)["question"] == "Who built the boat?"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (f"[Retrieval]{BOAT[:-3]}", "unbalanced_paragraph"),
        ("[Retrieval]<paragraph>a\nb", "unbalanced_paragraph"),
        ("a</paragraph>b", "unbalanced_paragraph"),
        ("<paragraph><paragraph>a\nb</paragraph>", "unbalanced_paragraph"),
        ("a [RQ] b", "reserved_text"),
        ("[Retrieval]<paragraph>a\n[RQ]</paragraph>", "reserved_text"),
        ("", "malformed_field"),
        (None, "missing_field"),
        (["a"], "malformed_field"),
    ],
)
def test_faulty_output_is_refused(output: Any, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        convert(output)
    assert caught.value.reason == reason


@pytest.mark.parametrize("changes", [{"instruction": None}, {"instruction": " "}, {"input": 3}])
def test_faulty_field_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=next(iter(changes))):
        convert("[No Retrieval]x", **changes)


def test_decision_without_passage_is_dropped() -> None:
    for output in ("[Retrieval]Ada.[Utility:5]", f"[Retrieval]Ada.[Retrieval]{BOAT}x", "Ada.[Retrieval] "):
        with pytest.raises(Dropped, match="retrieval_without_passage"):
            convert(output)


def test_reflection_tokens_are_those_that_training_adds() -> None:
    assert set(REFLECTION_TOKENS) == set(RetrievalTokens.self_rag().generation)


def test_training_reads_query_and_paragraph_side_by_side() -> None:
    example = convert(f"Sure.[Retrieval] {BOAT}[Relevant]Ada.[Utility:5]")
    kinds = [kind for kind, _ in split_assistant(content(example), OneGenConfig(tokens=RetrievalTokens.self_rag()))]
    assert kinds == ["text", "query", "paragraph", "text"]


texts = st.text(st.characters(exclude_characters="<>[]", exclude_categories=["Cs"]), max_size=20)
parts = st.tuples(texts.filter(str.strip), texts.filter(str.strip), st.sampled_from(["[Relevant]", "[Irrelevant]"]))


@given(texts, st.lists(st.tuples(parts, texts), max_size=4))
def test_parsing_keeps_all_text(start: str, rest: list[tuple[tuple[str, str, str], str]]) -> None:
    output = start
    for (title, text, judgement), after in rest:
        output += f"[Retrieval]<paragraph>{title.strip()}\n{text}</paragraph>{judgement}{after}"
    segments = parse_output(output)
    assert len(segments) == len(rest) + 1
    assert (
        "".join(segment.text for segment in segments).split()
        == "".join([start, *(("[Retrieval]" + judgement + after) for (_, _, judgement), after in rest)]).split()
    )
