"""A file is replaced in one step or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from onegen_hf.files import atomic_file, write_text_atomically


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
