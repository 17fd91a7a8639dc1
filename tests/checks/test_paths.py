"""Rules for arguments that name a file, a folder or a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onegen_hf.checks import check_folder, path, source


@pytest.mark.parametrize("value", ["name", "a/b", Path("new"), "/absolute/new"])
def test_a_path_may_be_new(value: Any) -> None:
    assert path()("x", value) is value


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("", ValueError, "x='' is empty"),
        ("  ", ValueError, "x='  ' is empty"),
        (5, TypeError, "x=5 must be a str or PathLike, got int"),
        (None, TypeError, "x=None must be a str or PathLike"),
        ("a\0b", ValueError, "holds a null character"),
        ("a\ud800", ValueError, "x holds half of a surrogate pair"),
    ],
)
@pytest.mark.parametrize("rule", [path(), source()])
def test_what_is_no_path(rule: Any, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rule("x", value)


def test_a_source_is_there_or_may_be_on_the_hub(tmp_path: Path) -> None:
    for value in (str(tmp_path), tmp_path, "organisation/name", "name", "milvus://host:1/collection"):
        assert source()("x", value) is value
    for value in ("./nowhere", "/nowhere", "a/b/c", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="x='.*': no such directory, and not the name of a Hub repository"):
            source()("x", value)


def test_what_lies_in_repositories_of_an_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rule = source("build one")
    for value in ("organisation/name", "milvus://host:1/collection", str(tmp_path)):
        assert rule("x", value) is value
    with pytest.raises(FileNotFoundError, match="x='name': no such directory here, and .* owner/name: build one"):
        rule("x", "name")
    (tmp_path / "name").mkdir()
    assert rule("x", "name") == "name"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check_folder("x", tmp_path / "new")
    with pytest.raises(NotADirectoryError, match="x='.*file' is a file: choose a folder"):
        check_folder("x", tmp_path / "file")
