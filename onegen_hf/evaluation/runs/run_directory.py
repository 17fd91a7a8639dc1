"""`RunDirectory`: the output directory of an evaluation, used by one process at a time and for fixed settings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...files import atomic_file, locked_folder

SETTINGS_FILE = "settings.json"


class RunDirectory:
    """
    The output directory of an evaluation.

    Args:
        path (`str` or path): Created if it is missing.

    Raises:
        `OSError`: If it cannot be created or is not writable.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with locked_folder(self.path, "an evaluation"):  # a folder that cannot be written to is named now
            pass

    @contextmanager
    def opened(self, settings: Mapping[str, Any]) -> Iterator[Path]:
        """
        Lock out other processes, and check that existing files belong to the same settings.

        Args:
            settings (`Mapping[str, Any]`): JSON-serialisable; everything that a result depends on.

        Yields:
            `Path`: The directory.

        Raises:
            [`~onegen_hf.files.FolderLockedError`]: If another process is writing to it.
            `ValueError`: If it holds results of other settings, which are named.
        """
        with locked_folder(self.path, "an evaluation"):
            self._claim(json.loads(json.dumps(settings)))
            yield self.path

    def write(self, name: str, text: str) -> None:
        """Write a file in one step."""
        with atomic_file(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _claim(self, settings: dict[str, Any]) -> None:
        path = self.path / SETTINGS_FILE
        if not path.is_file():
            if any(self.path.glob("*.jsonl")):
                self._refuse(f"results without a {SETTINGS_FILE}")
            self.write(SETTINGS_FILE, json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
            return
        try:
            stored = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            self._refuse(f"an unreadable {SETTINGS_FILE} ({error})")
        different = list(_differences(stored, settings))
        if different:
            self._refuse(f"results of other settings: {'; '.join(different)}")

    def _refuse(self, what: str) -> None:
        raise ValueError(
            f"{self.path} holds {what}. Give the same settings to go on, delete the directory to start over, or give "
            "another output directory."
        )


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name in sorted({*stored, *given}):
        before, now = stored.get(name), given.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, f"{prefix}{name}.")
        elif before != now:
            yield f"{prefix}{name} was {before!r} and is now {now!r}"
