"""Folders of plain files: which of them hold passages or examples."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import metadata_load

from data_builders.folders import is_saved_dataset
from data_builders.records import DATA_SUFFIXES, TEXT_SUFFIXES, data_suffix

from ..hub.layout import CARD

SUFFIXES = (*DATA_SUFFIXES, *TEXT_SUFFIXES)
_NAMED = 3
"""How many files a warning names."""


def is_plain(source: str | os.PathLike[str], config: str = "documents") -> bool:
    """
    Whether a corpus is a file, or a folder of files, and no dataset whose examples refer to passages by their ids. A
    README that lists no configs is a file like others.

    Args:
        source (`str` or path): As for [`load_documents`].
        config (`str`, *optional*, defaults to `"documents"`): Of a dataset repository.
    """
    path = Path(source)
    if not path.is_dir():
        return path.is_file()
    card = path / CARD
    lists_configs = card.is_file() and bool((metadata_load(card) or {}).get("configs"))
    return not (is_saved_dataset(path) or lists_configs or (path / config).is_dir())


def check_file(file: Path) -> None:
    """
    Raises:
        `ValueError`: If a file is of an unknown kind, or an empty text.
    """
    if data_suffix(file) not in SUFFIXES:
        raise ValueError(
            f"{file}: the ending {file.suffix!r} is unknown; give one of {sorted(SUFFIXES)}. Convert other documents, "
            "such as PDF, to text first"
        )
    if _is_empty_text(file):
        raise ValueError(f"{file}: the file is empty; give one with a text.")


def files_in(folder: Path) -> Iterator[Path]:
    """
    The files of a folder and below it that hold passages or examples, sorted by path. Empty texts are left out, and so
    is a README beside files of data, which it describes. Holds the names of one folder at a time.

    Args:
        folder (`Path`)
    """
    has_data = any(data_suffix(file) in DATA_SUFFIXES for file in _all_files(folder))
    for file in _all_files(folder):
        describes = has_data and file.name.lower() == CARD.lower()
        if data_suffix(file) in SUFFIXES and not describes and not _is_empty_text(file):
            yield file


def check_files_in(folder: Path) -> None:
    """
    Raises:
        `ValueError`: If a folder has no file that holds passages or examples.
    """
    if next(files_in(folder), None) is not None:
        return
    if any(data_suffix(file) in SUFFIXES for file in _all_files(folder)):
        raise ValueError(f"{folder}: the files of this folder are empty; write something into them.")
    raise ValueError(
        f"{folder}: no file in this folder ends in one of {', '.join(SUFFIXES)}; name the file. Convert other "
        "documents, such as PDF, to text first"
    )


def warn_of_left_out(folder: Path, files: Sequence[Path]) -> None:
    """
    Warn of files that are not read.

    Args:
        folder (`Path`)
        files (`Sequence[Path]`): What is read of it.
    """
    present, read = list(_all_files(folder)), set(files)
    rest = [file for file in present if file not in read and file.name.lower() != CARD.lower()]
    empty = [file for file in rest if data_suffix(file) in SUFFIXES]
    others = [file for file in rest if data_suffix(file) not in SUFFIXES]
    parts = [f"{len(empty)} empty ({_names(empty)})"] if empty else []
    if others:
        parts.append(f"{len(others)} of another kind ({_names(others)}), which are to be converted to text first")
    if parts:
        warnings.warn(f"{folder}: left out {len(rest)} of {len(present)} files: {', '.join(parts)}", stacklevel=2)


def id_in(folder: Path, file: Path) -> str | None:
    """
    The id of the passage that a text in a folder is: its path there, so that it stays when files come and go. `None`
    for files of records, which have ids of their own.
    """
    return file.relative_to(folder).as_posix() if data_suffix(file) in TEXT_SUFFIXES else None


def _all_files(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        names = sorted(
            (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if not entry.name.startswith(".")
        )
    for name, is_folder in names:
        if is_folder:
            yield from _all_files(folder / name)
        elif (folder / name).is_file():
            yield folder / name


def _is_empty_text(file: Path) -> bool:
    return data_suffix(file) in TEXT_SUFFIXES and file.stat().st_size == 0


def _names(files: Sequence[Path]) -> str:
    return ", ".join([*(file.name for file in files[:_NAMED]), *(["..."] if len(files) > _NAMED else [])])
