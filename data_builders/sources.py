"""Where records come from: a file, a folder of files, or a dataset on the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import orjson
from datasets import load_dataset
from datasets.exceptions import DatasetNotFoundError
from tqdm.auto import tqdm

from data_builders.folders import check_folder, is_saved_dataset, load_saved
from data_builders.records import DATA_SUFFIXES, data_suffix

Source = str | PathLike[str]
Sources = Source | Sequence[Source]
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def as_list(sources: Sources) -> list[Source]:
    """Give one source or several as a list."""
    return [sources] if isinstance(sources, (str, PathLike)) else list(sources)


def resolve(
    source: Source,
    *,
    split: str,
    download_dir: Path,
    suffixes: Sequence[str] = DATA_SUFFIXES,
    limit: int | None = None,
) -> list[Path]:
    """
    Find the files of a source.

    A dataset on the Hub is streamed once into a JSON lines file, because the engine reads its sources twice and every
    converter reads files.

    Args:
        source (`str` or `PathLike`):
            A file; a folder, whose data files count, sorted by path, or one that `save_to_disk` wrote; or
            `NAME[:CONFIG[:SPLIT]]`, where `NAME` is a dataset on the Hub (`org/name`) or the folder of one.
        split (`str`):
            The split to take where the source names none.
        download_dir (`Path`):
            Where the rows of a dataset go.
        suffixes (`Sequence[str]`, *optional*):
            Endings of the files that count in a folder.
        limit (`int`, *optional*):
            How many rows of a dataset to take.

    Returns:
        `list[Path]`: The files.

    Raises:
        `FileNotFoundError`: If there is no such file, folder or dataset.
        `ValueError`: If the folder has no data file or leads out of itself, or the dataset lacks the config or split.
    """
    text = fspath(source)
    path = Path(text)
    if path.is_file():
        return [path]
    if path.is_dir():
        check_folder(path)
        if is_saved_dataset(path):
            return [
                _write_rows(path.name, load_saved(path, split), download_dir / f"{path.name}-{split}.jsonl", limit)
            ]
        files = [file for file in sorted(path.rglob("*")) if _counts(file, path, suffixes)]
        if not files:
            raise ValueError(f"{text}: no file in this folder ends in one of {', '.join(suffixes)}; name the file.")
        return files
    name, _, rest = text.partition(":")
    config, _, own_split = rest.partition(":")
    is_hub_id = _HUB_ID.fullmatch(name) and data_suffix(Path(name)) not in {*suffixes, *DATA_SUFFIXES}
    if Path(name).is_dir():
        check_folder(Path(name))
    if is_hub_id or Path(name).is_dir():
        return [_stream_dataset(name, config or None, own_split or split, download_dir, limit)]
    raise FileNotFoundError(
        f"{text}: no such file or folder; a dataset on the Hub is named org/name[:config[:split]]."
    )


def _counts(file: Path, folder: Path, suffixes: Sequence[str]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.is_file() and not hidden and data_suffix(file) in suffixes


def _stream_dataset(name: str, config: str | None, split: str, download_dir: Path, limit: int | None) -> Path:
    try:
        rows = load_dataset(name, config, split=split, streaming=True)
    except (DatasetNotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(f"{name}: no such file, folder or dataset on the Hub ({error})") from error
    except ConnectionError as error:
        raise FileNotFoundError(f"{name}: no such file or folder, and the Hub can't be asked: {error}") from error
    except ValueError as error:
        raise ValueError(
            f"{name}: cannot load the config {config!r}, split {split!r}; name them as NAME:CONFIG:SPLIT. {error}"
        ) from error
    parts = (*Path(name).parts[-2:], config, split)
    path = download_dir / ("-".join(part.strip("/") or "root" for part in parts if part) + ".jsonl")
    return _write_rows(name, rows, path, limit)


def _write_rows(name: str, rows: Iterable[Any], path: Path, limit: int | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for row in tqdm(islice(rows, limit), desc=name, unit=" rows", disable=None):
            stream.write(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE))
    return path
