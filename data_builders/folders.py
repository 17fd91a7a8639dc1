"""Folders of data, which may come from strangers: nothing in them is read that lies elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, load_from_disk
from huggingface_hub import metadata_load

_SAVED = ("dataset_dict.json", "state.json")


def check_folder(folder: Path) -> None:
    """
    Make sure that reading a folder reads nothing else.

    Args:
        folder (`Path`):
            Of data files, of a dataset repository, or written by `save_to_disk`.

    Raises:
        `ValueError`: If a link in it leads out of it, or its README or its description names files elsewhere.
    """
    roots = _roots(folder)
    for path in folder.rglob("*"):
        if path.is_symlink() and not any(path.resolve().is_relative_to(root) for root in roots):
            raise ValueError(
                f"{path}: this link leads out of the folder, to a file that is none of its data; replace it by a copy "
                "of the file, or remove it."
            )
    for file, name in _named_files(folder):
        if "://" in name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(
                f"{file}: it names the data file {name!r}, which lies outside of the folder; name files of the folder "
                "only."
            )


def is_saved_dataset(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote a folder."""
    return any((folder / name).is_file() for name in _SAVED)


def load_saved(folder: Path, split: str) -> Dataset:
    """
    Open what `save_to_disk` wrote.

    Raises:
        `ValueError`: If it is damaged, or has no such split.
    """
    try:
        loaded = load_from_disk(str(folder))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: no whole dataset of `save_to_disk` ({error}); save it again.") from error
    if not isinstance(loaded, DatasetDict):
        return loaded
    if split not in loaded:
        raise ValueError(f"{folder}: no split {split!r}; it has {sorted(loaded)}.")
    return loaded[split]


def parquet_files(folder: Path, config: str, split: str) -> list[Path]:
    """
    The Parquet files of a split of a dataset repository, as its README names them.

    Raises:
        `ValueError`: If there are none.
    """
    configs = (metadata_load(folder / "README.md") or {}).get("configs") or ()
    parts = [part for c in configs if c.get("config_name") == config for part in c.get("data_files") or ()]
    patterns = [name for part in parts if part.get("split") == split for name in _texts(part.get("path"))]
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.suffix == ".parquet"})
    if not files:
        raise ValueError(f"{folder}: its README names no Parquet files for the config {config!r}, split {split!r}.")
    return files


def _roots(folder: Path) -> list[Path]:
    """The folder itself, and where the Hub's cache keeps the files of a snapshot."""
    resolved = folder.resolve()
    snapshots = [parent for parent in (resolved, *resolved.parents) if parent.parent.name == "snapshots"]
    return [resolved, *(snapshot.parent.parent / "blobs" for snapshot in snapshots)]


def _named_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of data that descriptions in a folder name."""
    readme = folder / "README.md"
    if readme.is_file():
        try:
            metadata = metadata_load(readme)
        except Exception as error:  # of the YAML parser, which is no concern of ours
            raise ValueError(f"{readme}: its YAML can't be read ({error}); mend it.") from error
        for config in (metadata or {}).get("configs") or ():
            if isinstance(config, dict):
                for key in ("data_files", "data_dir"):
                    yield from ((readme, name) for name in _texts(config.get(key)))
    for state in folder.rglob("state.json"):
        try:
            files = json.loads(state.read_text(encoding="utf-8")).get("_data_files") or ()
        except (ValueError, AttributeError):
            continue  # a file of that name that is no description
        yield from ((state, name) for file in files for name in _texts(file))


def _texts(value: Any) -> Iterator[str]:
    """The names in a description of data files; of a mapping those of `path`, or all of them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        parts = [value[key] for key in ("path", "filename") if key in value] or list(value.values())
        for part in parts:
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
