"""AIDA-CoNLL's table becomes articles whose label spans fit the detokenized text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from data_builders.documents import DocumentStore
from data_builders.entity_linking import EntityLinkingConverter
from data_builders.entity_linking.detokenization import detokenize
from data_builders.errors import Dropped, ErrorPolicy, RecordError

WIKI = "http://en.wikipedia.org/wiki/"
TABLE = f"""-DOCSTART- (1 BOATS)
Oak\tB\tOak\t--NME--
sells
Elm\tB\tElm Hill\tElm_Hill\t{WIKI}Elm_Hill\t42\t/m/01
Hill\tI\tElm Hill\tElm_Hill\t{WIKI}Elm_Hill\t42\t/m/01
's
"
tin
boat
"
.

Ada\tB\tAda O'Moll\tAda_O\\u0027Moll\t{WIKI}Ada_O%27Moll\t43\t/m/02
O'Moll\tI\tAda O'Moll\tAda_O\\u0027Moll\t{WIKI}Ada_O%27Moll\t43\t/m/02

-DOCSTART- (947testa SAILING)
Elm\tB\tElm\tElm_Hill\t{WIKI}Elm_Hill\t42\t/m/01
Ada\tB\tAda\tAda_O\\u0027Moll\t{WIKI}Ada_O%27Moll\t43\t/m/02
won\tO

-DOCSTART- (1163testb ROWING)
Fern\tI\tFern\tFern_Bay
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "AIDA-YAGO2-dataset.tsv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def articles(path: Path, policy: ErrorPolicy | None = None) -> list[dict[str, Any]]:
    return [row.record for row in EntityLinkingConverter().rows(path, policy or ErrorPolicy())]


def test_documents_splits_and_labels_are_read(table: Path) -> None:
    first, second, third = articles(table)
    assert [(found["id"], found["title"], found["split"]) for found in (first, second, third)] == [
        ("1 BOATS", "BOATS", "train"),
        ("947testa SAILING", "SAILING", "testa"),
        ("1163testb ROWING", "ROWING", "testb"),
    ]
    assert first["text"] == "Oak sells Elm Hill's \"tin boat\". Ada O'Moll"
    mentions = [(first["text"][slice(*found["span"])], found["entity_id"], found["name"]) for found in first["labels"]]
    assert mentions == [
        ("Oak", "--NME--", ""),
        ("Elm Hill", "Elm_Hill", "Elm Hill"),
        ("Ada O'Moll", "Ada_O'Moll", "Ada O'Moll"),
    ]
    assert first["labels"][1]["other_ids"] == ["42", "/m/01", "Elm_Hill"]
    # Two that stand side by side are two, and an I that continues nothing begins a mention.
    assert [found["span"] for found in second["labels"]] == [[0, 3], [4, 7]]
    assert third["labels"] == [
        {"span": [0, 4], "entity_id": "Fern_Bay", "name": "Fern Bay", "other_ids": ["Fern_Bay"]},
    ]


@pytest.mark.parametrize("text", [TABLE.replace("\n", "\r\n"), "\ufeff\n" + TABLE])
def test_line_ends_and_byte_order_marks_do_not_matter(table: Path, text: str) -> None:
    expected = articles(table)
    table.write_bytes(text.encode())
    assert articles(table) == expected


def test_a_compressed_table_is_read(table: Path) -> None:
    expected = articles(table)
    table.write_bytes(gzip.compress(table.read_bytes()))
    assert articles(table) == expected


def test_a_null_entity_continues_the_mention(table: Path) -> None:
    table.write_text(
        TABLE.replace(f"Hill\tI\tElm Hill\tElm_Hill\t{WIKI}", "Hill\tB\tElm Hill\tnull\t"), encoding="utf-8"
    )
    assert articles(table)[0]["labels"][1]["span"] == [10, 18]


def test_an_article_becomes_an_example(table: Path) -> None:
    converter, store = EntityLinkingConverter(split="train"), DocumentStore()
    rows = list(converter.rows(table, ErrorPolicy()))
    for row in rows:
        converter.add_documents(row.record, store)
    example = converter.example(rows[0].record, store, "")
    assert example["positives"] == [["Elm_Hill"], ["Ada_O'Moll"]]
    assert example["messages"][1]["content"].startswith("Oak sells <MENTION>Elm Hill</MENTION>[LK][CON]'s")
    meta = json.loads(example["meta"])
    assert (meta["split"], meta["label_counts"]) == ("train", {"mention": 2, "nil": 1})
    with pytest.raises(Dropped, match="other_split"):
        converter.example(rows[1].record, store, "")
    assert len(store) == 2


@pytest.mark.parametrize(
    "entity",
    [{"entity_id": "Q5", "name": "Elm Hill"}, {"entity_id": "/m/01", "name": "A hill"}, {"id": 42, "name": "A hill"}],
)
def test_a_catalogue_of_another_knowledge_base_is_found_by_name_or_id(table: Path, entity: dict[str, Any]) -> None:
    converter, store = EntityLinkingConverter(), DocumentStore()
    converter.add_corpus_record(entity, store)
    example = converter.example(articles(table)[0], store, "")
    assert example["positives"] == [[str(entity.get("entity_id", 42))]]
    assert json.loads(example["meta"])["label_counts"] == {"mention": 1, "nil": 1, "not_in_catalogue": 1}


def test_a_name_of_several_entities_links_to_none(table: Path) -> None:
    converter, store = EntityLinkingConverter(), DocumentStore()
    for entity_id in ("Q5", "Q6"):
        converter.add_corpus_record({"entity_id": entity_id, "name": "Elm Hill"}, store)
    assert converter.example(articles(table)[0], store, "")["positives"] == []


def test_the_annotations_without_tokens_are_refused(table: Path) -> None:
    table.write_text(f"-DOCSTART- (1 BOATS)\n0\t--NME--\n2\tElm_Hill\t{WIKI}Elm_Hill\t42\t/m/01\n", encoding="utf-8")
    with pytest.raises(RecordError, match="line 1: this file holds annotations without tokens"):
        articles(table)


def test_a_faulty_document_is_skipped_and_counted(table: Path) -> None:
    table.write_text(TABLE.replace("Fern\tI", "Fern\tX"), encoding="utf-8")
    policy = ErrorPolicy("skip")
    assert len(articles(table, policy)) == 2
    assert policy.skipped == {"malformed_field": 1}
    with pytest.raises(RecordError, match="line 21: column 2 of 'Fern' must be B, I or O, got 'X'"):
        articles(table)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("He paid $ 5 , not 6 % ( about ) .", "He paid $5, not 6% (about)."),
        ('Ada said : " No " , " no " .', 'Ada said: "No", "no".'),
        ("`` Well '' -LRB- she did n't -RRB-", '"Well" (she didn\'t)'),
        ("Oak and Elm 's", "Oak and Elm's"),
    ],
)
def test_tokens_are_joined_to_running_text(tokens: str, text: str) -> None:
    joined, [spans] = detokenize([tokens.split()])
    assert joined == text
    shown = {"``": '"', "''": '"', "-LRB-": "(", "-RRB-": ")"}
    assert [joined[start:end] for start, end in spans] == [shown.get(token, token) for token in tokens.split()]


def test_sentences_are_joined_by_a_space() -> None:
    assert detokenize([["Oh", "(", "no"], [")", "well"]])[0] == "Oh (no ) well"
