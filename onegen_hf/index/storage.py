"""Where an index lives: three files, in a directory or a dataset repository of the Hub."""

from __future__ import annotations

import difflib
import inspect
import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from ..checks import shown
from ..files import atomic_file, locked_folder, write_text_atomically
from ..hub.layout import DESCRIPTION_FILE, INDEX_FILE, PASSAGES_FILE, WORDS_FILE, current_version
from .backends import BACKENDS
from .checksum import sampled_sha256
from .description import FORMAT_VERSION, backend_of, description_checksum, parsed_description
from .embeddings_file import refuse_embeddings_file
from .versions import drop_versions

_LIBRARIES = ("onegen-hf", "faiss-cpu", "faiss-gpu", "torch", "transformers")


def write_directory(
    directory: str | os.PathLike[str],
    writers: Mapping[str, Callable[[Path], None]],
    description: Mapping[str, Any],
    write_errors: tuple[type[Exception], ...] = (),
) -> Path:
    """
    Write the data files and, last, the description, without which a directory is no index.

    Args:
        directory (`str` or path): Created if it is missing; an older index in it is replaced.
        writers (`Mapping[str, Callable]`): File name → what writes it, given a path.
        description (`Mapping[str, Any]`): Goes into index.json, with the sizes and checksums of the data files.
        write_errors (`tuple[type[Exception], ...]`): With which errors the writers report that they could not write.

    Returns:
        `Path`: The directory.

    Raises:
        `OSError`: If it cannot be written to, or another process is writing to it.
    """
    with locked_folder(directory, "an index") as root:
        sizes, checksums = {}, {}
        with ExitStack() as files:
            for name, write in writers.items():
                temporary = files.enter_context(atomic_file(root / name, *write_errors))
                write(temporary)
                with open(temporary, "rb+") as handle:
                    os.fsync(handle.fileno())  # a full disk can show here first: while the old index is whole
                sizes[name], checksums[name] = temporary.stat().st_size, sampled_sha256(temporary)
            # All new files are complete; from here until the end of this function there is no index, then the new one.
            (root / DESCRIPTION_FILE).unlink(missing_ok=True)
        for name in (*(backend.file_name for backend in BACKENDS.values()), WORDS_FILE):
            if name not in writers:
                (root / name).unlink(missing_ok=True)
        content = {
            "format_version": FORMAT_VERSION,
            **description,
            "files": sizes,
            "checksums": checksums,
            "libraries": {name: release for name in _LIBRARIES if (release := _installed_version(name))},
        }
        checksums[DESCRIPTION_FILE] = description_checksum(content)
        write_text_atomically(root / DESCRIPTION_FILE, json.dumps(content, sort_keys=True) + "\n")
        drop_versions(root)
    return root


_HUB_OPTIONS = frozenset(inspect.signature(snapshot_download).parameters)


def check_hub_options(options: Mapping[str, Any]) -> None:
    """
    Raises:
        `TypeError`: If `huggingface_hub.snapshot_download` has no such argument; a directory would ignore it.
    """
    for name, value in options.items():
        if name not in _HUB_OPTIONS:
            similar = difflib.get_close_matches(name, ("mmap", *_HUB_OPTIONS), n=1)
            remedy = f"did you mean {similar[0]!r}?" if similar else "leave it out"
            raise TypeError(f"{name}={shown(value)} is no argument of loading an index: {remedy}")


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
        return current_version(Path(dir_or_repo))
    no_directory = (
        f"{str(dir_or_repo)!r}: no such directory, and no name of a Hub repository (such as 'organisation/name')"
    )
    if isinstance(dir_or_repo, os.PathLike) or os.path.exists(dir_or_repo):
        raise FileNotFoundError(no_directory)

    def download(*names: str) -> Path:
        return Path(
            snapshot_download(
                str(dir_or_repo), repo_type="dataset", revision=revision, allow_patterns=list(names), **hub_kwargs
            )
        )

    try:
        root = download(INDEX_FILE, PASSAGES_FILE, WORDS_FILE, DESCRIPTION_FILE)
    except HFValidationError as error:
        raise FileNotFoundError(no_directory) from error
    if (root / DESCRIPTION_FILE).is_file():
        backend = backend_of(parsed_description(root / DESCRIPTION_FILE), root / DESCRIPTION_FILE)
        if not (root / backend.file_name).is_file():
            root = download(
                backend.file_name, PASSAGES_FILE, WORDS_FILE, DESCRIPTION_FILE
            )  # of one commit, hence all of them
    return root


def _installed_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
