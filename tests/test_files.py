"""A file is replaced in one step or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from onegen_hf.files import atomic_file, atomic_folder, write_text_atomically


def test_content_is_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_text_atomically(path, "old")
    write_text_atomically(path, "new ä")
    assert path.read_text(encoding="utf-8") == "new ä"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_an_error_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_text_atomically(path, "old")
    with pytest.raises(OSError, match="full"):
        with atomic_file(path) as temporary:
            temporary.write_text("ne", encoding="utf-8")
            raise OSError("disk full")
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_a_folder_is_there_with_all_its_files_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with pytest.raises(OSError, match="full"):
        with atomic_folder(path) as temporary:
            (temporary / "half").touch()
            raise OSError("disk full")
    assert not list(path.parent.iterdir())
    with atomic_folder(path) as temporary:
        (temporary / "file").write_text("whole", encoding="utf-8")
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["folder"]
    assert (path / "file").read_text(encoding="utf-8") == "whole"


def test_of_two_that_make_a_folder_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "file").write_text("second", encoding="utf-8")
        path.mkdir()
        (path / "file").write_text("first", encoding="utf-8")
    assert (path / "file").read_text(encoding="utf-8") == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
