"""Reading `documents` and `examples` from wherever they lie: a dataset repository, a folder, a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetNotFoundError

_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


def load_documents(source: str | os.PathLike[str], split: str = "train") -> Dataset:
    """
    Load the passages of a corpus.

    Args:
        source (`str` or path): A dataset repository (local or on the Hub) with the config `documents`, or a `.jsonl`,
            `.json`, `.parquet` or `.csv` file with `id`, `title` and `sentences` or `text`.
        split (`str`, *optional*, defaults to `"train"`): Of the repository.

    Returns:
        `datasets.Dataset`

    Raises:
        `FileNotFoundError`: If there is no such file, folder or repository.
        `ValueError`: If the file is of an unknown kind, or the repository has no such config or split.
    """
    path = Path(source)
    if path.suffix in _READERS or path.is_file():
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        if path.suffix not in _READERS:
            raise ValueError(f"{path}: the ending {path.suffix!r} is unknown; give one of {sorted(_READERS)}")
        return load_dataset(_READERS[path.suffix], data_files=str(path), split="train")
    return _load_config(source, "documents", split)


def load_examples(source: str | os.PathLike[str], split: str = "train", limit: int | None = None) -> Dataset:
    """
    Load training or evaluation examples.

    Args:
        source (`str` or path): A dataset repository (local or on the Hub) with the config `examples`.
        split (`str`, *optional*, defaults to `"train"`)
        limit (`int`, *optional*): The first so many only.

    Returns:
        `datasets.Dataset`

    Raises:
        `FileNotFoundError` or `ValueError`: As [`load_documents`].
    """
    examples = _load_config(source, "examples", split)
    return examples if limit is None else examples.select(range(min(limit, len(examples))))


def join(parts: Sequence[Dataset]) -> Dataset:
    """
    One dataset of several, with the columns that all of them have.

    Raises:
        `ValueError`: If there is none.
    """
    if not parts:
        raise ValueError("datasets is empty: give at least one dataset repository")
    shared = set.intersection(*(set(part.column_names) for part in parts))
    return concatenate_datasets([part.select_columns(sorted(shared)) for part in parts])


def _load_config(source: str | os.PathLike[str], config: str, split: str) -> Dataset:
    try:
        return load_dataset(str(source), config, split=split)
    except (FileNotFoundError, DatasetNotFoundError) as error:
        raise FileNotFoundError(
            f"{source}: no such dataset repository, folder or file. Build one with `onegen-hf build`"
        ) from error
    except ConnectionError as error:
        raise FileNotFoundError(
            f"{source}: no such folder or file here, and the Hub can't be asked: {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{source}: cannot load the config {config!r}, split {split!r}: {error}") from error
