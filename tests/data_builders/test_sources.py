"""Where a build reads its records: files of any ending, saved datasets, and folders that reach out of themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from support.builder_records import build, write_lines

from data_builders.columns import find_column, find_value
from data_builders.documents import DocumentStore
from data_builders.errors import RecordError
from data_builders.own.converter import OwnConverter
from data_builders.records import read_records

QUESTION = {"question": "Who?", "golden_answers": ["Ada"], "doc_id": "d1"}


def built_of(tmp_path: Path, documents: Path) -> list[dict[str, Any]]:
    examples = write_lines(tmp_path / "questions.jsonl", [QUESTION])
    built = build(tmp_path / "out", examples, documents, OwnConverter())
    assert built.examples[0]["positives"] == [["d1"]] and built.examples[0]["answers"] == ["Ada"]
    return built.documents


def test_a_folder_of_all_kinds_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.CSV").write_bytes("\ufeff_id,title,contents\nd1,None,Ada.\n007,1984,5\n".encode())
    (folder / "b.jsonl.ZST").write_bytes(pa.compress(b'{"docid": 3, "passage": "P"}', "zstd", asbytes=True))
    (folder / "c.MD").write_text("\ufeffText.", encoding="utf-8")
    (folder / "d.bin").write_bytes(b"no data")
    found = {row["id"]: (row["title"], row["sentences"]) for row in built_of(tmp_path, folder)}
    assert found == {"d1": ("None", ["Ada."]), "007": ("1984", ["5"]), "3": ("", ["P"]), "c": ("c", ["Text."])}


@pytest.mark.parametrize("several", [False, True])
def test_a_saved_dataset(several: bool, tmp_path: Path) -> None:
    table = Dataset.from_dict({"id": ["d1", "d2"], "title": [None, "T"], "text": ["Ada.", "x"]})
    (DatasetDict(train=table) if several else table).save_to_disk(tmp_path / "saved")
    assert [row["id"] for row in built_of(tmp_path, tmp_path / "saved")] == ["d1", "d2"]


def test_links_that_lead_out_of_a_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "notes.txt").symlink_to(secret)
    with pytest.raises(ValueError, match="notes.txt: this link leads out of the folder"):
        built_of(tmp_path, folder)
    (folder / "notes.txt").unlink()
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="more: this link leads out of the folder"):
        built_of(tmp_path, folder)
    (folder / "more").unlink()
    (folder / "README.md").write_text(
        f"---\nconfigs: [{{config_name: a, data_files: {json.dumps(str(secret))}}}]\n---\n"
    )
    with pytest.raises(ValueError, match="names the data file .*secret.txt', which lies outside of the folder"):
        built_of(tmp_path, folder)


def test_a_corpus_whose_ids_have_an_unknown_name(tmp_path: Path) -> None:
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"page_key": "d1", "title": "T", "sentences": ["x"]}])
    with pytest.raises(RecordError, match=r"corpus.jsonl, line 1: no column 'id' among .* though 'page_key'"):
        DocumentStore.from_corpus(corpus)
    other = write_lines(tmp_path / "other.jsonl", [{"_id": 7, "Title": 1984, "contents": "x"}])
    assert [document.as_record() for document in DocumentStore.from_corpus(other)] == [
        {"id": "7", "title": "1984", "sentences": ["x"]}
    ]


def test_broken_quotes_and_encodings_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes("id\ttext\na\tok\nb\tZürich\n".encode("latin-1"))
    with pytest.raises(RecordError, match=r"a.tsv, line 3: not UTF-8 \(.*byte 0xfc at 3\); convert the file to UTF-8"):
        list(read_records(path))
    path.write_bytes("id\ttext\n".encode("utf-16"))
    with pytest.raises(RecordError, match="a.tsv: UTF-16 and not UTF-8"):
        list(read_records(path))


def test_columns_in_other_spellings() -> None:
    record = {"docID": "a", "doc_id": None, "Text": "x", "passage": float("nan")}
    assert find_value(record, "id", None) == "a" and find_value(record, "text", None) == "x"
    assert find_value({"_id": "b", "id": "a"}, "id", None) == "a"
    assert find_value({"id": "a"}, "id", "key") is None
    assert find_column(["x", "_id", "docID"], "id") == "_id" and find_column(["docID"], "id") == "docID"
    assert find_column(["x"], "id") is None
