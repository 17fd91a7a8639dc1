"""Hands hidden states from vLLM's worker to this process, through files in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

SHARED_MEMORY = Path("/dev/shm")


class StateFiles:
    """
    A directory with one file per state. A state is there before the token after it is reported, so nobody waits.

    Args:
        directory (`str` or path): Made by [`~StateFiles.make`].
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    @classmethod
    def make(cls) -> StateFiles:
        """In memory where the system has a place for that, readable by this user alone."""
        place = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        return cls(tempfile.mkdtemp(prefix="onegen-states-", dir=place))

    def put(self, key: str, state: np.ndarray) -> None:
        """
        Write a state, or write it anew.

        Args:
            key (`str`): A name that no other request has.
            state (`np.ndarray` of shape `(hidden,)`, float32)
        """
        partial = self.directory / f".{key}.{os.getpid()}"
        partial.write_bytes(np.ascontiguousarray(state, np.float32).tobytes())
        partial.replace(self.directory / key)

    def take(self, key: str) -> np.ndarray | None:
        """The state, which is removed; `None` if there is none."""
        path = self.directory / key
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        path.unlink()
        return np.frombuffer(content, np.float32)

    def sweep(self, awaited: Collection[str]) -> None:
        """Delete states that nobody waits for: vLLM may write one while a request is being aborted."""
        for path in self.directory.iterdir():
            if path.name.lstrip(".").rpartition(".")[0] not in awaited and path.name not in awaited:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.directory, ignore_errors=True)
