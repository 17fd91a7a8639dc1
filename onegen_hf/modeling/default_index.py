"""`default_index`: where the index of a checkpoint lies."""

from __future__ import annotations

import posixpath
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from huggingface_hub import snapshot_download

from ..hub.layout import INDEX_FILES
from ..hub.origin import access_of


def default_index(model: Any) -> str:
    """
    Where the index of a checkpoint lies: `onegen.default_index`, which with a leading `./` is a folder beside the
    checkpoint's weights (on the Hub too), else a directory or a Hub repository.

    Raises:
        `ValueError`: If the checkpoint names none, or a folder outside of itself; or if one of the Hub names a
            directory of this machine.
    """
    location = model.onegen_config.default_index
    if location is None:
        raise ValueError(
            "index is missing, and the checkpoint names no default one: pass `index=PassageIndex.build(...)`, a "
            "directory or a Hub repository"
        )
    checkpoint = Path(model.name_or_path).resolve()
    if not location.startswith("./"):
        if model.origin and _leads_elsewhere(location):
            raise ValueError(
                f"default_index={location!r} leads out of the repository {model.origin.repository!r}, which can't "
                "know what lies on this machine: pass `index=...`"
            )
        return str(location)
    if not checkpoint.is_dir():  # a Hub repository, of the commit that the model came from
        commit = model.origin.commit if model.origin else None
        patterns = [posixpath.normpath(f"{location}/{name}") for name in INDEX_FILES]
        found = snapshot_download(model.name_or_path, revision=commit, allow_patterns=patterns, **access_of(model))
        checkpoint = Path(found).resolve()
    folder = (checkpoint / location).resolve()
    if not folder.is_relative_to(checkpoint):
        raise ValueError(f"default_index={location!r} leads out of the checkpoint {checkpoint}: pass `index=...`")
    return str(folder)


def _leads_elsewhere(location: str) -> bool:
    """Whether it is a path that the name of a repository can't be."""
    paths = (PurePosixPath(location), PureWindowsPath(location))
    return location.startswith("~") or any(path.anchor or ".." in path.parts for path in paths)
