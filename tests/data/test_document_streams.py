"""Passages one at a time: the same as those that are loaded at once, and with the memory of one."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from onegen_hf import Passage
from onegen_hf.data.loading import load_documents
from onegen_hf.data.streaming import PassageStream, stream_documents

RECORDS: list[dict[str, Any]] = [
    {"id": f"p{n}", "title": f"Kite {n}", "text": f"Kite {n} is red.", "meta": {"n": n}} for n in range(9)
]


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_as_loaded_at_once(tmp_path: Path, name: str) -> None:
    file = write_lines(tmp_path / name, RECORDS)
    expected = [Passage.from_record(row, n) for n, row in enumerate(load_documents(file))]
    stream = stream_documents(file)
    assert list(stream) == expected
    assert list(stream) == expected, "a stream begins anew"


def test_a_folder_of_texts(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, text in {"a.txt": "A kite.", "b/c.md": "A boat.", "b.txt": "A mill.", ".hidden.txt": "No."}.items():
        (tmp_path / name).write_text(text)
    write_lines(tmp_path / "z.jsonl", RECORDS[:1])
    stream = stream_documents(tmp_path)
    assert [(p.id, p.title, p.text) for p in stream] == [
        ("a.txt", "a", "A kite."), ("b/c.md", "c", "A boat."), ("b.txt", "b", "A mill."),
        ("p0", "Kite 0", "Kite 0 is red."),
    ]  # fmt: skip
    identity = stream.identity
    (tmp_path / "a.txt").unlink()
    later = stream_documents(tmp_path)
    assert [p.id for p in later] == ["b/c.md", "b.txt", "p0"], "an id depends on other files"
    assert later.identity != identity


def test_identity(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "corpus.jsonl", RECORDS)
    before = stream_documents(file).identity
    assert stream_documents(file).identity == before
    moved = tmp_path / "elsewhere" / "corpus.jsonl"
    moved.parent.mkdir()
    os.rename(file, moved)
    assert stream_documents(moved).identity == before, "it depends on where the corpus is mounted"
    write_lines(moved, RECORDS[:8])
    assert stream_documents(moved).identity != before


def test_memory_of_one_passage(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    with open(file, "w", encoding="utf-8") as lines:
        for number in range(20_000):
            lines.write(json.dumps({"id": str(number), "text": f"Kite {number}. " * 20}) + "\n")
    stream = stream_documents(file)
    next(iter(stream))
    tracemalloc.start()
    assert sum(1 for _ in stream) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000, f"{peak} bytes for a file of {file.stat().st_size}"


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("x.jsonl", None, FileNotFoundError, "x.jsonl: no such file"),
        ("x.bin", b"x", ValueError, "the ending '.bin' is unknown"),
        ("x.jsonl", b'{"id": "a", "text": "A"}\n{"id": "b"}\n', ValueError, "x.jsonl, line 2: .*has no text"),
        ("x.jsonl", b'{"id": "a", "text": "A"}\n{"id"', ValueError, "x.jsonl, line 2: not valid JSON"),
        ("x.jsonl", b"", ValueError, "the file is empty"),
        ("nowhere/at/all", None, FileNotFoundError, "no such"),
    ],
)
def test_faults(tmp_path: Path, name: str, content: bytes | None, error: type[Exception], message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        list(stream_documents(tmp_path / name))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file in this folder ends in one of"):
        stream_documents(tmp_path)


def test_what_is_no_stream() -> None:
    for passages in ("A kite.", {"a": "A kite."}, 5):
        with pytest.raises(TypeError):
            PassageStream.of(passages)
    assert PassageStream.of(RECORDS).count == 9
