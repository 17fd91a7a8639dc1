"""What a kill leaves of a results file, and what may not be in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onegen_hf.evaluation.runs.results_file import ResultsFile

IDS = ["a", "b", "c", "d", "e"]


def lines(ids: list[str]) -> bytes:
    return b"".join(json.dumps({"id": name, "answer": "ä" * 3}, ensure_ascii=False).encode() + b"\n" for name in ids)


def test_blocks_are_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    results = ResultsFile(path, IDS, 2)
    assert [IDS[block] for block in results.blocks()] == [["a", "b"], ["c", "d"], ["e"]]
    for block in results.blocks():
        results.append([{"id": name, "answer": "äää"} for name in IDS[block]])
    assert path.read_bytes() == lines(IDS)
    assert [result["id"] for result in results] == IDS
    assert list(ResultsFile(path, IDS, 2).blocks()) == []


@pytest.mark.parametrize("length", range(len(lines(IDS)) + 1))
def test_whatever_is_left_ends_as_if_nothing_had_happened(tmp_path: Path, length: int) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(lines(IDS)[:length])
    results = ResultsFile(path, IDS, 2)
    whole = lines(IDS)[:length].count(b"\n")
    assert results.finished == (5 if whole == 5 else whole // 2 * 2)
    assert path.read_bytes() == lines(IDS[: results.finished])
    for block in results.blocks():
        results.append([{"id": name, "answer": "äää"} for name in IDS[block]])
    assert path.read_bytes() == lines(IDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(["a", "c"]), "line 2: the result of 'c' where that of 'b' belongs"),
        (lines(["a", "b", "c", "d", "e", "f"]), "line 6: the result of a further example, 'f'"),
        (b'{"id": "a"}\n{"id": \n{"id": "c"}\n', "line 2: no JSON object with an `id`"),
        (b'{"id": "a"}\n["b"]\n{"id": "c"}\n', "line 2: no JSON object with an `id`"),
        (b'{"id": "a"}\n{"name": "b"}\n{"id": "c"}\n', "line 2: no JSON object with an `id`"),
    ],
)
def test_other_content_is_refused_and_kept(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        ResultsFile(path, IDS, 2)
    assert path.read_bytes() == content
