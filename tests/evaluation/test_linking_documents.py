"""Benchmarks of entity linking in their public layouts, read for evaluation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support.linking_benchmark import PEOPLE, TOWNS, row, write_rows

from data_builders.documents import DocumentStore
from data_builders.entity_linking import EntityLinkingConverter
from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.evaluation.linking.documents import (
    LinkingDocument,
    load_linking_rows,
    read_linking_documents,
    row_of_example,
)

CATALOGUE = [("Q1", "Ada Moll"), ("Q2", "Fern Bay"), ("Q3", "Ben Oak"), ("Q4", "Elm Hill"), ("Q5", "Elm Hill")]
TABLE = """-DOCSTART- (1testa TOWNS)
Ada\tB\tAda Moll\tAda_Moll\thttp://en.wikipedia.org/wiki/Ada_Moll\t11\t/m/1
Moll\tI\tAda Moll\tAda_Moll\thttp://en.wikipedia.org/wiki/Ada_Moll\t11\t/m/1
left
Elm\tB\tElm Hill\tElm_Hill\thttp://en.wikipedia.org/wiki/Elm_Hill\t12\t/m/2
Hill\tI\tElm Hill\tElm_Hill\thttp://en.wikipedia.org/wiki/Elm_Hill\t12\t/m/2
.

-DOCSTART- (2testb NOBODY)
Zed\tB\tZed\t--NME--
sang
.
"""


def gold(documents: list[LinkingDocument]) -> list[list[tuple[str, str | None]]]:
    return [[(one.text[label.start : label.end], label.entity_id) for label in one.gold] for one in documents]


def test_labels_of_the_catalogue_are_gold() -> None:
    towns = read_linking_documents(TOWNS, CATALOGUE)
    assert [one.id for one in towns] == ["0", "1", "2"]
    assert gold(towns) == [[("Ada Moll", "Q1"), ("Fern Bay", "Q2")], [("Elm Hill", "Q4"), ("Fern Bay", "Q2")], []]
    assert [one.left_out for one in towns] == [{}, {}, {"nil": 1, "datetime": 1}]
    assert [label["entity_id"] for label in towns[2].labels] == ["NIL", "NIL"]
    people = read_linking_documents(PEOPLE, CATALOGUE)
    assert people[0].labels[0]["children"] == ["1"] and people[0].labels[1]["parent"] == "0"
    assert people[1].left_out == {"not_in_catalogue": 1}


def test_without_a_catalogue_every_linkable_label_is_gold() -> None:
    assert gold(read_linking_documents(PEOPLE, None))[1] == [("Ben Oak", "Q3"), ("he", "Q3"), ("sings", "Q99")]
    assert gold(read_linking_documents(TOWNS, None))[2] == []


def test_coreferences_may_be_dropped() -> None:
    (document,) = read_linking_documents(PEOPLE[1:], CATALOGUE, coreferences=False)
    assert gold([document]) == [[("Ben Oak", "Q3")]]
    assert document.left_out == {"coreference": 1, "not_in_catalogue": 1}
    assert len(document.labels) == 2


def test_old_layouts_and_optional_labels() -> None:
    text = "Ada Moll left."
    for labels in (
        [[[0, 8], "Q1"]],
        [{"start_char": 0, "end_char": 8, "entity_reference": "Q1"}],
        [{"span": [0, 8], "entity_id": "Q1", "parent": None}, {"span": [9, 13], "entity_id": "Q8", "parent": 77}],
        [{"id": 5, "span": [0, 8], "entity_id": "Q1"}, {"id": 5, "span": [9, 13], "entity_id": "Unknown3"}],
    ):
        (document,) = read_linking_documents([{"text": text, "labels": labels}], CATALOGUE)
        assert gold([document]) == [[("Ada Moll", "Q1")]]
        assert document.evaluation_span == (0, len(text)) and document.id == "0"
    labels = [{"span": [0, 8], "entity_id": "Q1", "optional": True}, {"span": [0, 3], "entity_id": "Q1"}]
    (document,) = read_linking_documents([{"text": text, "labels": labels}], CATALOGUE)
    assert [label.optional for label in document.gold] == [True, False]
    assert document.left_out == {"optional": 1}


@pytest.mark.parametrize("compressed", [False, True])
def test_a_table_of_aida(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "aida.tsv"
    path.write_bytes(gzip.compress(TABLE.encode()) if compressed else TABLE.encode())
    documents = read_linking_documents(load_linking_rows(path), CATALOGUE)
    # Two entities are called Elm Hill, so the name does not tell which.
    assert gold(documents) == [[("Ada Moll", "Q1")], []]
    assert [one.left_out for one in documents] == [{"not_in_catalogue": 1}, {"nil": 1}]
    assert gold(read_linking_documents(load_linking_rows(path), CATALOGUE[:-1]))[0][1] == ("Elm Hill", "Q4")
    assert gold(read_linking_documents(load_linking_rows(path), [("/m/2", "A town")]))[0] == [("Elm Hill", "/m/2")]
    assert [one["title"] for one in load_linking_rows(path, "testb")] == ["NOBODY"]
    with pytest.raises(ValueError, match=r"no document of split 'train'; there are \['testa', 'testb'\]"):
        load_linking_rows(path, "train")


def test_examples_of_the_builder_lead_back_to_the_benchmark(tmp_path: Path) -> None:
    store, converter = DocumentStore(), EntityLinkingConverter()
    for identifier, name in CATALOGUE:
        converter.add_corpus_record({"entity_id": identifier, "name": name}, store)
    rows = [*TOWNS, *PEOPLE]
    config = OneGenConfig(tokens=RetrievalTokens.entity_linking())
    examples = [json.loads(json.dumps(converter.example(one, store, "x"))) for one in rows]
    again = [row_of_example(example, config) for example in examples]
    assert read_linking_documents(again, CATALOGUE) == read_linking_documents(rows, CATALOGUE)
    with pytest.raises(ValueError, match="example 'a' has no labels in its meta"):
        row_of_example({"id": "a", "meta": "{}"}, config)


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ({"text": None}, "document 3: its text is None"),
        ({"labels": [{"span": [0, 99], "entity_id": "Q1"}]}, r"document '3': the label \[0, 99\] is empty or leaves"),
        ({"labels": [{"span": [4, 4], "entity_id": "Q1"}]}, r"the label \[4, 4\] is empty"),
        ({"labels": [{"span": "all", "entity_id": "Q1"}]}, "span` must be"),
        ({"labels": None}, "`labels` is missing"),
    ],
)
def test_rows_that_cannot_be_scored(faulty: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_linking_documents([{**row(3, "Ada Moll left."), **faulty}], CATALOGUE)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file; give ELEVANT's JSON lines"):
        load_linking_rows(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="the data set is empty"):
        read_linking_documents([], CATALOGUE)
    assert load_linking_rows(write_rows(tmp_path / "towns.jsonl", TOWNS)) == TOWNS
