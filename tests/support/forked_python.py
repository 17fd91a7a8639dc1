"""
Python code in a process of its own, without the seconds that imports take.

The process is forked by the server of `two_processes`, which has imported the libraries. What a test says about a
first import needs `subprocess` instead.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import huggingface_hub
import torch

from support.two_processes import IMPORTED


class ForkedPython:
    """
    A running process, with the names of `subprocess.Popen` where there are such.

    Args:
        code (`str`)
        arguments (`str`): Of the code, as `sys.argv[1:]`.
        environment (`Mapping[str, str]`, *optional*): The whole of it; by default that of this process.
        directory (`Path`, *optional*): To run in.
    """

    def __init__(
        self, code: str, *arguments: str, environment: Mapping[str, str] | None = None, directory: Path | None = None
    ) -> None:
        self._written = tempfile.TemporaryDirectory()
        self._paths = [Path(self._written.name) / name for name in ("stdout", "stderr")]
        for path in self._paths:
            path.touch()
        multiprocessing.set_forkserver_preload(IMPORTED)
        self._process = multiprocessing.get_context("forkserver").Process(
            target=_run,
            args=(code, arguments, dict(os.environ if environment is None else environment), directory, self._paths),
        )
        self._process.start()

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self._paths[0].read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it has written so far."""
        return self._paths[1].read_text(encoding="utf-8")

    def wait(self, timeout: float = 240) -> int:
        """Its exit code; the negative number of the signal that ended it."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise TimeoutError(f"the process still runs after {timeout} s\n{self.stderr}")
        return self._process.exitcode

    def wait_until_written(self, text: str, timeout: float = 120) -> str:
        """Standard output and errors, once a text is there."""
        end = time.monotonic() + timeout
        while text not in (written := self.stdout + self.stderr):
            if not self._process.is_alive() or time.monotonic() > end:
                raise AssertionError(f"{text!r} is not written\n{written}")
            time.sleep(0.01)
        return written

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self._process.is_alive():
            os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        """And wait for its end."""
        self.send_signal(signal.SIGKILL)
        self._process.join()


def _run(
    code: str, arguments: tuple[str, ...], environment: dict[str, str], directory: Path | None, paths: list[Path]
) -> None:
    for descriptor, path in zip((1, 2), paths, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False, buffering=1) for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    if directory is not None:
        os.chdir(directory)
    sys.argv = ["-c", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    # The server has read the variables of the test run, these are the process's.
    importlib.reload(huggingface_hub.constants)
    huggingface_hub.hf_api.api.endpoint = huggingface_hub.constants.ENDPOINT
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
