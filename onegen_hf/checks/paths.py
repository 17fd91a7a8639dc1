"""Rules for arguments that name a file, a folder or a repository of the Hub."""

from __future__ import annotations

import os
from typing import Any

from .arguments import Rule
from .rules import instance, text


def path() -> Rule:
    """A `str` or path of something that may not exist yet. An empty one would mean the current folder."""

    def rule(name: str, value: Any) -> str | os.PathLike[str]:
        location: str | os.PathLike[str] = instance(str, os.PathLike)(name, value)
        text()(name, os.fspath(location))
        if "\0" in os.fspath(location):
            raise ValueError(f"{name}={value!r} holds a null character, which no path can: take it out")
        return location

    return rule


def check_folder(name: str, value: Any) -> None:
    """
    Raises:
        `TypeError` or `ValueError`: If it is no path, or an empty one.
        `NotADirectoryError`: If there is a file of that name.
    """
    folder = path()(name, value)
    if os.path.isfile(folder):
        raise NotADirectoryError(f"{name}={os.fspath(folder)!r} is a file: choose a folder")


def source(missing: str | None = None) -> Rule:
    """
    A local directory that exists, a Hub repository, or a URL.

    Args:
        missing (`str`, *optional*): For what stands in repositories with an owner alone, so that a bare name can only
            be a directory: what to do if there is no such directory.
    """

    def rule(name: str, value: Any) -> str | os.PathLike[str]:
        location = path()(name, value)
        written = os.fspath(location)
        is_path = os.path.isabs(written) or written.startswith(("./", "../", "~")) or written.count("/") > 1
        if (is_path or location is not written) and "://" not in written and not os.path.exists(written):
            raise FileNotFoundError(f"{name}={written!r}: no such directory, and not the name of a Hub repository")
        if missing is not None and "/" not in written and not os.path.exists(written):
            raise FileNotFoundError(
                f"{name}={written!r}: no such directory here, and a Hub repository is named owner/name: {missing}"
            )
        return location

    return rule
