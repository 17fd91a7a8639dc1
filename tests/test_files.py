"""A file is replaced in one step or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from onegen_hf.files import (
    FolderLockedError,
    atomic_file,
    atomic_folder,
    delete_abandoned,
    locked_folder,
    write_text_atomically,
)


def test_content_is_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_text_atomically(path, "old")
    write_text_atomically(path, "new ä")
    assert path.read_text(encoding="utf-8") == "new ä"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_file_is_as_open_to_others_as_any_new_one(tmp_path: Path, mask: int) -> None:
    """safetensors makes its files for their owner alone."""
    before = os.umask(mask)
    try:
        with atomic_file(tmp_path / "file.safetensors") as temporary:
            save_file({"a": np.zeros(3, np.float32)}, temporary)
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "file.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


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


def test_the_errors_of_a_library_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"weights\.bin could not be written \(iostream error\): free some space"):
        with atomic_file(tmp_path / "weights.bin", RuntimeError):
            raise RuntimeError("iostream error")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        with atomic_file(tmp_path / "weights.bin", KeyError):
            raise RuntimeError("a fault of ours")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_names_the_file_and_not_the_temporary(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        with atomic_file(tmp_path / "file"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "file"))


_WRITER = """
import sys, time
from pathlib import Path
from onegen_hf.files import atomic_file, atomic_folder, locked_folder
path = Path(sys.argv[1])
whole_folder = path.with_name("folder")
with locked_folder(path.parent, "a test"), atomic_file(path) as file, atomic_folder(whole_folder) as folder:
    file.write_text("half")
    (folder / "half").touch()
    print("ready", flush=True)
    time.sleep(60)
"""


@contextmanager
def writing_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of its work on a file, a folder beside it, and the lock on both."""
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_next_writer_deletes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with writing_process(path) as process:
        write_text_atomically(path, "new")
        assert len(list(tmp_path.glob(".*.tmp"))) == 2  # of a living process: not ours to delete
        process.send_signal(signal.SIGKILL)
        process.wait()
        write_text_atomically(path, "newer")
        with atomic_folder(tmp_path / "folder"):
            pass
    assert not list(tmp_path.glob(".*.tmp")) and path.read_text() == "newer"


def test_temporaries_of_older_releases_and_other_machines_go_too(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    old, far, far_and_old, other = (
        tmp_path / name
        for name in (
            f".file.{dead.stdout.strip()}.tmp",
            ".file.elsewhere.1.tmp",
            ".file.elsewhere.2.tmp",
            f".another.{dead.stdout.strip()}.tmp",
        )
    )
    for temporary in (old, far, far_and_old, other):
        temporary.touch()
    os.utime(far_and_old, (time.time() - 200_000,) * 2)
    delete_abandoned(tmp_path / "file")
    assert sorted(tmp_path.iterdir()) == sorted([far, other])


def test_a_second_writer_is_refused_at_once_and_by_name(tmp_path: Path) -> None:
    with writing_process(tmp_path / "folder" / "file") as process:
        start = time.monotonic()
        with pytest.raises(
            FolderLockedError, match=r"another process is writing to .*folder, so it cannot be used for"
        ):
            with locked_folder(tmp_path / "folder", "training"):
                pass
        assert time.monotonic() - start < 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked_folder(tmp_path / "folder", "training"):  # a killed process holds nothing
            pass
    assert not (tmp_path / "folder" / ".lock").exists()


def test_a_lock_is_taken_again_by_its_own_thread_only(tmp_path: Path) -> None:
    refused = []

    def other_thread() -> None:
        try:
            with locked_folder(tmp_path, "an index"):
                pass
        except FolderLockedError as error:
            refused.append(error)

    def run_other_thread() -> None:
        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()

    with locked_folder(tmp_path, "training"):
        with locked_folder(tmp_path, "an index"):
            run_other_thread()
        run_other_thread()  # the inner release has not opened the folder
        assert len(refused) == 2
    run_other_thread()
    assert len(refused) == 2
    assert not list(tmp_path.iterdir())


def test_many_processes_never_hold_one_lock_together(tmp_path: Path) -> None:
    # Each deletes the lock file when it is done, so the others find a new file, a deleted one, or none.
    code = """
import sys, time
from pathlib import Path
from onegen_hf.files import FolderLockedError, locked_folder
folder, end, taken = Path(sys.argv[1]), time.monotonic() + 2, 0
while time.monotonic() < end:
    try:
        with locked_folder(folder / "locked", "a test"):
            (folder / "inside").mkdir()  # fails if anybody else is inside
            (folder / "inside").rmdir()
            taken += 1
    except FolderLockedError:
        pass
print(taken)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes) and min(counts) > 0


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file cannot be written to .*for training: choose another folder"):
        with locked_folder(tmp_path / "file", "training"):
            pass
