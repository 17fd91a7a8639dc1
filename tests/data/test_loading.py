"""Documents and examples from files, folders and repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from support.sample_corpus import DOCUMENTS, EXAMPLES, make_repository

from onegen_hf.data.documents import DocumentStore
from onegen_hf.data.loading import join, load_documents, load_examples


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset repository as the builders write it."""
    return make_repository(tmp_path_factory.mktemp("repository"))


def test_a_repository(repository: Path) -> None:
    assert [row["id"] for row in load_documents(repository)] == [d["id"] for d in DOCUMENTS]
    assert [row["id"] for row in load_examples(repository)] == [f"e{n}" for n in range(6)]
    assert [row["id"] for row in load_examples(repository, "dev")] == ["e6", "e7"]
    assert len(load_examples(repository, limit=2)) == 2
    assert len(load_examples(repository, limit=99)) == 6
    assert load_examples(repository)[0]["positives"] == EXAMPLES[0]["positives"]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_a_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"corpus.{kind}"
    table = Dataset.from_list(DOCUMENTS)
    table.to_parquet(path) if kind == "parquet" else table.to_json(path)
    found = DocumentStore(load_documents(path))
    assert found.ids == [d["id"] for d in DOCUMENTS]
    assert found[9].text == DOCUMENTS[9]["sentences"][0]


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("nothing.jsonl", FileNotFoundError, "nothing.jsonl: no such file"),
        ("nothing", FileNotFoundError, "no such dataset repository, folder or file"),
        ("notes.txt", ValueError, "the ending '.txt' is unknown"),
    ],
)
def test_what_is_not_there(name: str, error: Any, match: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(error, match=match):
        load_documents(tmp_path / name)


def test_an_unknown_split(repository: Path) -> None:
    with pytest.raises(ValueError, match="cannot load the config 'examples', split 'test'"):
        load_examples(repository, "test")


def test_join_keeps_the_shared_columns() -> None:
    joined = join([Dataset.from_dict({"a": [1], "b": [2]}), Dataset.from_dict({"c": [5], "a": [3]})])
    assert joined.to_dict() == {"a": [1, 3]}
    with pytest.raises(ValueError, match="datasets is empty"):
        join([])
