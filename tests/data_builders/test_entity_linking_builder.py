"""Articles with labels become annotated texts; every label is a mention or left out for one reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from data_builders.documents import DocumentStore
from data_builders.entity_linking import EntityLinkingConverter, annotate, remove_annotation
from data_builders.errors import Dropped, ErrorPolicy, RecordError
from data_builders.schema import validate_example
from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.data.conversations import RoleEncoder
from onegen_hf.data.passages import Passage, PassageEncoder

TEXT = "Mina Oak of Elm Hill met Lord Oak there."
CATALOGUE: list[dict[str, Any]] = [
    {"entity_id": "Q1", "name": "Mina Oak", "type_names": ["human"], "aliases": ["Oak"], "description": "A sailor."},
    {"entity_id": "Q2", "name": "Elm Hill", "type": "Q27096213", "aliases": [], "description": "Elm Hill"},
    {"entity_id": "Q3", "name": "Lord Oak", "type_names": ["human"], "aliases": ["Oak"], "description": None},
    {"entity_id": "Q4", "name": "Elm", "type": "OTHER"},
]


def label(start: int, end: int, entity_id: Any = "Q1", **more: Any) -> dict[str, Any]:
    return {"span": [start, end], "entity_id": entity_id, "name": "Mina Oak", "type": "Q215627", **more}


def article(*labels: Any, text: str = TEXT, **more: Any) -> dict[str, Any]:
    return {"id": 7, "title": "A meeting", "text": text, "labels": list(labels), **more}


def build(record: dict[str, Any], catalogue: bool = True, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The example of a record and its meta, after the two passes of the engine."""
    converter, store = EntityLinkingConverter(**options), DocumentStore()
    for entity in CATALOGUE if catalogue else ():
        converter.add_corpus_record(entity, store)
    converter.add_documents(record, store)
    example = converter.example(record, store, "default")
    validate_example(example, store, converter.query_token)
    return example, json.loads(example["meta"])


def reasons(record: dict[str, Any], **options: Any) -> list[str | None]:
    return [gold.get("left_out") for gold in build(record, **options)[1]["labels"]]


def test_an_article_becomes_an_annotated_text() -> None:
    example, meta = build(article(label(25, 33, "Q3"), label(0, 8), label(12, 20, "Q2")))
    assert example["id"] == "7"
    assert example["messages"][0] == {"role": "user", "content": example["question"]}
    assert example["question"].endswith(f"\n\n{TEXT}")
    assert example["messages"][1]["content"] == (
        "<MENTION>Mina Oak</MENTION>[LK][CON] of <MENTION>Elm Hill</MENTION>[LK][CON] met "
        "<MENTION>Lord Oak</MENTION>[LK][CON] there."
    )
    assert example["positives"] == [["Q1"], ["Q2"], ["Q3"]]
    assert example["negatives"] == [["Q3"], ["Q4"], ["Q1"]]
    assert meta["title"] == "A meeting"
    assert meta["evaluation_span"] == [0, len(TEXT)]
    assert meta["label_counts"] == {"mention": 3}
    assert meta["labels"][0] == {
        "span": [25, 33], "mention": "Lord Oak", "entity_id": "Q3", "name": "Mina Oak", "type": "Q215627",
        "linked_to": "Q3",
    }  # fmt: skip


@pytest.mark.parametrize(
    "labels",
    [
        [label(0, 8)],
        [{"id": 3, "span": [0, 8], "entity_id": "Q1", "parent": None, "children": [], "optional": False}],
        [{"start_char": 0, "end_char": 8, "entity_reference": "Q1"}],
        [[[0, 8], "Q1"]],
    ],
    ids=["elevant", "newer elevant", "simple", "pairs"],
)
def test_every_variant_of_the_labels_is_read(labels: list[Any]) -> None:
    example, meta = build({"text": TEXT, "labels": labels})
    assert (example["id"], example["positives"], meta["labels"][0]["span"]) == ("default", [["Q1"]], [0, 8])


@pytest.mark.parametrize(
    ("entity_id", "kind", "reason"),
    [
        ("<NIL>", "", "nil"),
        ("Unknown3", "", "nil"),
        ("", "", "nil"),
        (None, "", "nil"),
        ("<NO_MAPPING>", "", "no_mapping"),
        ("DATETIME", "", "datetime"),
        ("Q577", "DATETIME", "datetime"),
        ("QUANTITY", "QUANTITY", "quantity"),
        ("Q99", "", "not_in_catalogue"),
    ],
)
def test_what_cannot_be_linked_is_left_out_or_marked(entity_id: Any, kind: str, reason: str) -> None:
    record = article(label(0, 8, entity_id, type=kind), label(25, 33, "Q3"))
    assert reasons(record) == [reason, None]
    example, meta = build(record, unlinkable="empty")
    assert example["positives"] == [[], ["Q3"]]
    assert example["negatives"][0] == []
    assert example["messages"][1]["content"].count("[LK][CON]") == 2
    assert meta["labels"][0]["linked_to"] is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([label(3, 3)], ["empty_span"]),
        ([label(8, 3)], ["empty_span"]),
        ([label(0, -1)], ["empty_span"]),
        ([label(8, 9)], ["empty_span"]),
        ([label(-1, 3)], ["out_of_range"]),
        ([label(36, 41)], ["out_of_range"]),
        ([label(50, 51)], ["out_of_range"]),
        ([label(0, 8), label(0, 8)], [None, "duplicate"]),
        ([label(0, 8), label(0, 8, "Q3")], [None, "same_span"]),
        ([label(5, 8), label(0, 8)], ["nested", None]),
        ([label(0, 4), label(2, 9)], ["overlap", None]),
        ([label(0, 8), label(8, 11)], [None, None]),
        # The whole has no entity, so its part is annotated; of two that share no character both are.
        ([label(0, 20, "<NIL>"), label(0, 8)], ["nil", None]),
        # The outermost of a group wins even if a middle one stands first.
        ([label(0, 8, "Q3"), label(0, 20, "Q2"), label(12, 20)], ["nested", None, "nested"]),
        # Of one span the parent wins, wherever it stands; parents in a circle do no harm.
        ([label(0, 8, "Q3", id=1, parent=2), label(0, 8, "Q1", id=2, parent=None)], ["same_span", None]),
        ([label(0, 8, "Q3", id=1, parent=2), label(0, 8, "Q1", id=2, parent=1)], [None, "same_span"]),
        ([label(0, 8, coref=True)], ["coreference"]),
    ],
)
def test_each_label_has_one_reason(labels: list[dict[str, Any]], expected: list[str | None]) -> None:
    assert reasons(article(*labels)) == expected


def test_pronouns_without_a_flag_are_coreferences() -> None:
    record = article(label(0, 2), label(12, 14), text="He met Ada. It is.")
    assert reasons(record) == ["coreference", None]
    assert reasons(record, keep_coreferences=True) == [None, None]


def test_labels_outside_the_evaluation_span_are_left_out() -> None:
    record = article(label(0, 8), label(12, 20, "Q2"), label(25, 33, "Q3"), evaluation_span=[9, 24])
    assert reasons(record) == ["outside_evaluation_span", None, "outside_evaluation_span"]


def test_the_text_can_be_cut_to_the_evaluation_span() -> None:
    example, meta = build(article(label(12, 20, "Q2"), label(25, 33), evaluation_span=[9, 24]), crop=True)
    assert example["messages"][1]["content"] == "of <MENTION>Elm Hill</MENTION>[LK][CON] met"
    assert meta["evaluation_span"] == [0, 15]
    assert meta["labels"][0]["span"] == [3, 11]
    assert meta["label_counts"] == {"mention": 1, "outside_evaluation_span": 1}


def test_spans_count_code_points() -> None:
    text = "\N{SAILBOAT}\U0001f6a3\U0001f6a3 Ada \U0001f6a3."
    example, _ = build(article(label(4, 7), text=text))
    assert example["messages"][1]["content"] == text.replace("Ada", "<MENTION>Ada</MENTION>[LK][CON]")


@pytest.mark.parametrize("mark", ["[LK]", "[CON]", "<MENTION>", "</MENTION>", "[SE]", "<paragraph>"])
def test_a_text_that_holds_a_mark_is_refused(mark: str) -> None:
    with pytest.raises(RecordError, match="remove it there") as error:
        build(article(text=f"Ada {mark} met Ben."))
    assert error.value.reason == "reserved_text"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"labels": []}, "missing_field"),
        ({"text": 3, "labels": []}, "malformed_field"),
        ({"text": "Ada"}, "missing_field"),
        ({"text": "Ada", "labels": {}}, "missing_field"),
        ({"text": "Ada", "labels": ["Q1"]}, "malformed_field"),
        ({"text": "Ada", "labels": [{"entity_id": "Q1"}]}, "malformed_field"),
        ({"text": "Ada", "labels": [{"span": [0, 2.5]}]}, "malformed_field"),
        ({"text": "Ada", "labels": [], "evaluation_span": [0]}, "malformed_field"),
    ],
)
def test_malformed_articles_are_refused_by_reason(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as error:
        EntityLinkingConverter().example(record, DocumentStore(), "x")
    assert error.value.reason == reason


def test_an_empty_text_is_dropped_and_one_without_mentions_is_not() -> None:
    with pytest.raises(Dropped, match="empty_text"):
        build(article(text=" \n"))
    example, _ = build(article())
    assert example["messages"][1]["content"] == TEXT
    assert example["positives"] == example["negatives"] == []


@pytest.mark.parametrize("options", [{"unlinkable": "drop"}, {"num_negatives": -1}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        EntityLinkingConverter(**options)


def test_other_tokens_and_no_instruction() -> None:
    example, _ = build(article(label(0, 8)), query_token="<link>", continue_token="[_CONTINUE_]", instruction="")
    assert example["question"] == TEXT
    assert example["messages"][1]["content"].startswith("<MENTION>Mina Oak</MENTION><link>[_CONTINUE_] of")


# The catalogue.


def documents(catalogue: list[dict[str, Any]], **options: Any) -> dict[str, tuple[str, list[str]]]:
    converter, store = EntityLinkingConverter(**options), DocumentStore()
    for entity in catalogue:
        converter.add_corpus_record(entity, store)
    return {document.id: (document.title, list(document.sentences)) for document in store}


def test_entities_become_documents() -> None:
    assert documents(CATALOGUE) == {
        "Q1": ("Mina Oak", ["A sailor.", "Type: human."]),
        "Q2": ("Elm Hill", ["Elm Hill"]),
        "Q3": ("Lord Oak", ["Type: human."]),
        "Q4": ("Elm", ["Elm"]),
    }
    plain = documents(CATALOGUE, include_types=False, include_aliases=True)
    assert plain["Q1"] == ("Mina Oak", ["A sailor.", "Also known as: Oak."])


def test_other_layouts_of_a_catalogue_are_read() -> None:
    catalogue = [
        {"id": 5, "title": "Fern", "sentences": ["A bay.", "It is blue."]},
        {"qid": "Q6", "aliases": ["Moll"]},
    ]
    assert documents(catalogue) == {"5": ("Fern", ["A bay.", "It is blue."]), "Q6": ("Moll", ["Moll"])}


@pytest.mark.parametrize(
    "entity", [{"name": "Elm"}, {"entity_id": " "}, {"entity_id": "Q1", "name": 3}, {"entity_id": "Q1", "aliases": 3}]
)
def test_malformed_entities_are_refused(entity: dict[str, Any]) -> None:
    with pytest.raises(RecordError) as error:
        EntityLinkingConverter().add_corpus_record(entity, DocumentStore())
    assert error.value.reason == "malformed_document"


def test_without_a_catalogue_the_labels_name_the_documents() -> None:
    record = article(label(0, 8), label(12, 20, "Q2", name="Unknown"), label(25, 33, "<NIL>"))
    converter, store = EntityLinkingConverter(), DocumentStore()
    converter.add_documents(record, store)
    assert {document.id: document.title for document in store} == {"Q1": "Mina Oak", "Q2": "Elm Hill"}
    assert converter.example(record, store, "")["positives"] == [["Q1"], ["Q2"]]


def test_negatives_are_bounded_and_the_same_every_time() -> None:
    catalogue = [{"entity_id": f"E{number}", "name": f"Oak {number}"} for number in range(9)]
    converter, store = EntityLinkingConverter(num_negatives=3), DocumentStore()
    for entity in [*CATALOGUE, *catalogue]:
        converter.add_corpus_record(entity, store)
    record = article(label(5, 8), label(30, 33))
    first = converter.example(record, store, "")
    # Whoever is called "Oak" comes before those whose names hold the word.
    assert first["negatives"] == [["Q3", "E0", "E1"], ["Q3", "E0", "E1"]]
    assert converter.example(record, store, "") == first


def test_documents_end_in_the_document_token_once(fresh_tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = RetrievalTokens.entity_linking()
    tokens.add_to(fresh_tokenizer)
    encoder = PassageEncoder(fresh_tokenizer, OneGenConfig(tokens=tokens))
    for number, (identifier, (title, sentences)) in enumerate(documents(CATALOGUE).items()):
        passage = Passage.from_record({"id": identifier, "title": title, "sentences": sentences}, number)
        row = encoder.row(passage)
        assert row.input_ids.count(encoder.ids.document) == 1
        assert row.input_ids[-1] == encoder.ids.document


def test_every_mention_has_one_query_token(fresh_tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = RetrievalTokens.entity_linking()
    tokens.add_to(fresh_tokenizer)
    example, _ = build(article(label(0, 8), label(12, 20, "Q2")))
    encoded = RoleEncoder(fresh_tokenizer, OneGenConfig(tokens=tokens)).encode(example["messages"])
    ids = tokens.ids(fresh_tokenizer)
    assert [encoded.input_ids[position] for position in encoded.query_positions] == [ids.query] * 2
    assert [encoded.input_ids[position + 1] for position in encoded.query_positions] == [ids.continuation] * 2


# Properties.

PIECES = st.sampled_from(
    ["a", "Ada", " ", "é", "\U0001f6a3", "[", "]", "[LK", "LK]", "<", "MENTION>", "</MENTION", "."]
)


@st.composite
def articles(draw: st.DrawFn) -> dict[str, Any]:
    text = "".join(draw(st.lists(PIECES, min_size=1, max_size=20)))
    ends = st.integers(-2, len(text) + 2)
    ids = st.sampled_from(["Q1", "Q2", "Q3", "Q9", "<NIL>", ""])
    labels = draw(st.lists(st.tuples(ends, ends, ids, st.none() | st.integers(0, 5)), max_size=8))
    return article(*(label(s, e, i, id=n, parent=p) for n, (s, e, i, p) in enumerate(labels)), text=text)


@settings(max_examples=200, deadline=None)
@given(record=articles(), unlinkable=st.sampled_from(["leave_out", "empty"]))
def test_removing_the_annotation_gives_the_text(record: dict[str, Any], unlinkable: str) -> None:
    try:
        example, meta = build(record, unlinkable=unlinkable)
    except (RecordError, Dropped) as error:
        assert error.reason in ("reserved_text", "empty_text")
        return
    content = example["messages"][1]["content"]
    assert remove_annotation(content) == record["text"]
    assert content.count("[LK]") == content.count("[CON]") == content.count("<MENTION>") == len(example["positives"])
    assert sum(meta["label_counts"].values()) == len(record["labels"])
    marked = [gold for gold in meta["labels"] if "linked_to" in gold]
    assert sorted(gold["linked_to"] or "" for gold in marked) == sorted("".join(ids) for ids in example["positives"])


@given(text=st.text(max_size=30), data=st.data())
def test_annotate_is_undone(text: str, data: st.DataObject) -> None:
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8).filter(lambda found: len(found) % 2 == 0)))
    spans = list(zip(ends[::2], ends[1::2], strict=True))
    assert remove_annotation(annotate(text, spans)) == text


def test_overlapping_spans_are_refused() -> None:
    with pytest.raises(RecordError, match=r"\[2, 4\] overlaps"):
        annotate("a text", [(0, 3), (2, 4)])


def test_rows_are_the_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.benchmark.jsonl"
    path.write_text("\n".join(json.dumps(article(label(0, 8))) for _ in range(3)), encoding="utf-8")
    rows = list(EntityLinkingConverter().rows(path, ErrorPolicy()))
    assert [(row.record["id"], row.line) for row in rows] == [(7, 1), (7, 2), (7, 3)]
