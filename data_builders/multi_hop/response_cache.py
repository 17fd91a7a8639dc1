"""`ResponseCache`: replies by key in a file of JSON lines, safe to interrupt."""

from __future__ import annotations

import threading
from os import PathLike
from pathlib import Path
from typing import Any

import orjson


class ResponseCache:
    """
    A growing file of JSON lines; each line holds its `key` and a value. Several threads may write.

    Args:
        path (`str` or `PathLike`):
            The file; made if needed. A last line that was cut off is dropped.

    Raises:
        `ValueError`: If a line is no entry, so that the file is probably another one.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._entries: dict[str, bytes] = {}
        if self._path.exists():
            self._read()

    def _read(self) -> None:
        whole = 0
        with self._path.open("rb+") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    self._entries[orjson.loads(line)["key"]] = line
                except (orjson.JSONDecodeError, LookupError, TypeError) as error:
                    raise ValueError(
                        f"{self._path.name}, line {number}: no entry of a cache; give another file or delete the line."
                    ) from error
                whole += len(line)
            stream.truncate(whole)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def get(self, key: str) -> dict[str, Any]:
        """The value under a key that is there."""
        entry: dict[str, Any] = orjson.loads(self._entries[key])
        return entry

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Write a value, so that it survives the end of the process."""
        line = orjson.dumps({"key": key, **value}, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock, self._path.open("ab") as stream:
            stream.write(line)
            self._entries[key] = line
