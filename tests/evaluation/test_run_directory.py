"""One group of settings and one process per directory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onegen_hf.evaluation.runs.run_directory import SETTINGS_FILE, RunDirectory
from onegen_hf.files import FolderLockedError

SETTINGS = {"k": 1, "model": {"dtype": "float32", "weights": "ab"}, "tokens": ("[RQ]",)}


def test_the_same_settings_come_in_again(tmp_path: Path) -> None:
    for _ in range(2):
        with RunDirectory(tmp_path / "new" / "out").opened(SETTINGS) as path:
            assert (path / SETTINGS_FILE).is_file()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 2}, r"k was 1 and is now 2\. Give the same settings"),
        ({"model": {"dtype": "bfloat16", "weights": "ab"}}, "model.dtype was 'float32' and is now 'bfloat16'"),
        ({"max_hops": 3}, "max_hops was None and is now 3"),
        ({"k": 2, "model": {"dtype": "float32", "weights": "cd"}}, "k was 1 and is now 2; model.weights was 'ab'"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    with RunDirectory(tmp_path).opened(SETTINGS):
        pass
    with pytest.raises(ValueError, match=message), RunDirectory(tmp_path).opened({**SETTINGS, **changed}):
        pass


def test_results_of_unknown_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="results without a settings.json"), RunDirectory(tmp_path).opened(SETTINGS):
        pass


@pytest.mark.parametrize("content", ["{", "[1]", "3"])
def test_unreadable_settings_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / SETTINGS_FILE).write_text(content)
    with pytest.raises(ValueError, match="unreadable settings.json"), RunDirectory(tmp_path).opened(SETTINGS):
        pass


def test_a_second_process_stays_out(tmp_path: Path) -> None:
    with RunDirectory(tmp_path).opened(SETTINGS):
        # Another thread, since the one that holds the lock may take it again.
        with ThreadPoolExecutor() as threads, pytest.raises(FolderLockedError, match="writing to .*an evaluation"):
            threads.submit(RunDirectory, tmp_path).result()


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match="cannot be written to .*an evaluation: choose another folder"):
        RunDirectory(tmp_path / "out")


def test_an_error_inside_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(KeyError), RunDirectory(tmp_path).opened(SETTINGS):
        raise KeyError
    with RunDirectory(tmp_path).opened(SETTINGS):
        pass
