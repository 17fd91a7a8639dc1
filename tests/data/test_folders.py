"""Folders of plain files: which of them hold passages, and what happens to the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from onegen_hf.data.documents import DocumentStore
from onegen_hf.data.loading import is_plain, load_documents
from onegen_hf.data.passages import Passage
from onegen_hf.data.streaming import stream_documents

Load = Callable[[Path], list[Passage]]


def stored(folder: Path) -> list[Passage]:
    """Passages as `load_documents` reads them."""
    return list(DocumentStore(load_documents(folder)))


def streamed(folder: Path) -> list[Passage]:
    """Passages as `stream_documents` reads them."""
    return list(stream_documents(folder))


BOTH = pytest.mark.parametrize("load", [stored, streamed])


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder as people have them."""
    folder = tmp_path / "notes"
    (folder / "towns").mkdir(parents=True)
    (folder / "README.md").write_text("# Notes\n\nRead me first.\n")
    (folder / "pumps.txt").write_text("The pump stands in hall 4.\n")
    (folder / "towns" / "Ærø 日本.md").write_text("An island.\n")
    return folder


@BOTH
def test_notes_with_a_readme(load: Load, notes: Path) -> None:
    """A README makes no dataset repository, unless it lists configs."""
    assert [(passage.id, passage.title, passage.text) for passage in load(notes)] == [
        ("README.md", "README", "# Notes\n\nRead me first.\n"),
        ("pumps.txt", "pumps", "The pump stands in hall 4.\n"),
        ("towns/Ærø 日本.md", "Ærø 日本", "An island.\n"),
    ]
    assert is_plain(notes)


@BOTH
def test_the_readme_of_data_files_is_no_passage(load: Load, notes: Path) -> None:
    (notes / "more.jsonl").write_text('{"id": "a", "text": "x"}\n')
    assert [passage.id for passage in load(notes)] == ["a", "pumps.txt", "towns/Ærø 日本.md"]


@BOTH
def test_empty_texts_are_no_passages(load: Load, notes: Path) -> None:
    (notes / "draft.md").touch()
    assert [passage.title for passage in load(notes)] == ["README", "pumps", "Ærø 日本"]


@BOTH
def test_a_folder_with_nothing_but_empty_texts(load: Load, tmp_path: Path) -> None:
    (tmp_path / "draft.md").touch()
    with pytest.raises(ValueError, match="the files of this folder are empty"):
        load(tmp_path)
    with pytest.raises(ValueError, match="draft.md: the file is empty"):
        load(tmp_path / "draft.md")


def test_what_is_left_out_is_said(notes: Path) -> None:
    (notes / "manual.pdf").write_bytes(b"%PDF-1.4 \xff")
    (notes / ".hidden.pdf").write_bytes(b"%PDF-1.4 \xff")
    (notes / "draft.md").touch()
    with pytest.warns(UserWarning) as warned:
        stored(notes)
    (text,) = [str(warning.message) for warning in warned]
    assert text.startswith(f"{notes}: left out 2 of 5 files: 1 empty (draft.md), 1 of another kind (manual.pdf), ")
    (notes / "manual.pdf").unlink(), (notes / "draft.md").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored(notes)
