"""Where an index lives: its three files, in a directory or a dataset repository of the Hub."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from ..files import atomic_file, write_text_atomically
from ..hub.layout import DESCRIPTION_FILE, INDEX_FILE, PASSAGES_FILE
from .checksum import sampled_sha256
from .embeddings_file import refuse_embeddings_file

FORMAT_VERSION = 1
RESAVE_HINT = "save the index again, or download it with `force_download=True`"
_REQUIRED = ("fingerprint", "dimension", "metric", "factory", "passages", "embeddings", "granularity", "files")
_LIBRARIES = ("onegen-hf", "faiss-cpu", "faiss-gpu", "torch", "transformers")


def write_directory(
    directory: str | os.PathLike[str], writers: Mapping[str, Callable[[Path], None]], description: Mapping[str, Any]
) -> None:
    """
    Write the data files and, last, the description, without which a directory is no index.

    Args:
        directory (`str` or path): Created if it is missing; an older index in it is replaced.
        writers (`Mapping[str, Callable]`): File name → what writes it, given a path.
        description (`Mapping[str, Any]`): Goes into index.json, with the sizes and checksums of the data files.
    """
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    sizes, checksums = {}, {}
    with ExitStack() as files:
        for name, write in writers.items():
            temporary = files.enter_context(atomic_file(root / name))
            write(temporary)
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())  # a full disk can show here first: while the old index is whole
            sizes[name], checksums[name] = temporary.stat().st_size, sampled_sha256(temporary)
        # All new files are complete; from here until the end of this function there is no index, then the new one.
        (root / DESCRIPTION_FILE).unlink(missing_ok=True)
    content = {
        "format_version": FORMAT_VERSION,
        **description,
        "files": sizes,
        "checksums": checksums,
        "libraries": {name: found for name in _LIBRARIES if (found := _installed_version(name))},
    }
    write_text_atomically(root / DESCRIPTION_FILE, json.dumps(content, sort_keys=True) + "\n")


def read_description(root: Path) -> dict[str, Any]:
    """
    Read index.json and check the files that it speaks of.

    Args:
        root (`Path`)

    Returns:
        `dict[str, Any]`

    Raises:
        `FileNotFoundError`: If a file is missing.
        `ValueError`: If index.json is damaged or of a newer version, or a file is not the one that was written.
    """
    path = root / DESCRIPTION_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: {root} holds no complete index. Save it again with `PassageIndex.save` (the file is "
            "written last, so an interrupted save leaves none), or download the repository again."
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {RESAVE_HINT}") from error
    found = description.get("format_version") if isinstance(description, dict) else None
    if not isinstance(found, int):
        raise ValueError(f"{path} has no format_version: it was not written by `PassageIndex.save`")
    if found > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {found}, and this release reads up to {FORMAT_VERSION}: "
            "pip install --upgrade onegen-hf"
        )
    missing = [key for key in _REQUIRED if key not in description]
    if missing:
        raise ValueError(f"{path} lacks {missing}: {RESAVE_HINT}")
    if not isinstance(description["files"], dict):
        raise ValueError(f"{path}: 'files' is no object of file names and sizes: {RESAVE_HINT}")
    # Nothing is opened by a name from index.json; one that leads elsewhere shows that the repository means harm.
    strange = [name for name in description["files"] if not _is_plain(name)]
    if strange:
        raise ValueError(f"{path} names the file {strange[0]!r}, which is not beside it: don't use this index")
    checksums = description.get("checksums", {})  # none in an index of before they were introduced
    if not isinstance(checksums, dict):
        raise ValueError(f"{path}: 'checksums' is no object of file names and checksums: {RESAVE_HINT}")
    for name in (INDEX_FILE, PASSAGES_FILE):
        _check_file(root / name, description["files"].get(name), checksums.get(name))
    return description


def _check_file(file: Path, size: int | None, checksum: str | None) -> None:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {RESAVE_HINT}")
    # Before FAISS maps the file: reading past the end of a truncated mapping kills the process.
    found = file.stat().st_size
    if found != size:
        raise ValueError(
            f"{file} has {found} bytes and {DESCRIPTION_FILE} says {size}: it is truncated, or the files come from "
            f"different indexes; {RESAVE_HINT}"
        )
    if checksum is not None and sampled_sha256(file) != checksum:
        raise ValueError(
            f"{file} has another content than {DESCRIPTION_FILE} says: it is damaged, or the files come from "
            f"different indexes; {RESAVE_HINT}"
        )


def locate(dir_or_repo: str | os.PathLike[str], revision: str | None, **hub_kwargs: Any) -> Path:
    """
    The directory of an index; a repository is downloaded, without what else it holds.

    Args:
        dir_or_repo (`str` or path): A directory, or a dataset repository of the Hub.
        revision (`str`, *optional*): Branch, tag or commit of the repository.
        hub_kwargs: As for `huggingface_hub.snapshot_download` (`token`, `cache_dir`, `local_files_only`, ...).

    Raises:
        `FileNotFoundError`: If there is no such directory and the name can't be one of a repository.
        `ValueError`: If it is a file of embeddings, or a directory of such files.
    """
    refuse_embeddings_file(dir_or_repo)
    if os.path.isdir(dir_or_repo):
        return Path(dir_or_repo)
    no_directory = f"{dir_or_repo}: no such directory, and no name of a Hub repository (such as 'organisation/name')"
    if isinstance(dir_or_repo, os.PathLike) or os.path.exists(dir_or_repo):
        raise FileNotFoundError(no_directory)
    wanted = [INDEX_FILE, PASSAGES_FILE, DESCRIPTION_FILE]
    try:
        found = snapshot_download(
            str(dir_or_repo), repo_type="dataset", revision=revision, allow_patterns=wanted, **hub_kwargs
        )
    except HFValidationError as error:
        raise FileNotFoundError(no_directory) from error
    return Path(found)


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and PurePosixPath(name).name == name == PureWindowsPath(name).name


def _installed_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
