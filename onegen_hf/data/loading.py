"""Reading `documents` and `examples` from wherever they lie: a dataset repository, a folder, a file."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from datasets import Dataset, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from data_builders.folders import check_folder, is_saved_dataset, load_saved, parquet_files
from data_builders.records import data_suffix

from ..checks import checked, integer, optional, path, text
from .plain_files import SUFFIXES, check_file, check_files_in, files_in, is_plain, warn_of_left_out
from .record_files import examples_of_files, passages_of_files


@checked(source=path(), split=text())
def load_documents(source: str | os.PathLike[str], split: str = "train") -> Dataset:
    """
    Load the passages of a corpus, as `onegen-hf build` reads them: every cell as text, and the columns by any of their
    usual names (`_id`, `doc_id`, `contents`, ...).

    Args:
        source (`str` or path): A dataset repository (local or on the Hub) with the config `documents`; a folder that
            `save_to_disk` wrote; a `.jsonl`, `.json`, `.parquet`, `.csv`, `.tsv`, `.txt` or `.md` file with `id`,
            `title` and `sentences` or `text`, also compressed (`.gz`, `.zst`); or a folder of such files, where the id
            of a text is its path there. A warning names the files of a folder that are not read.
        split (`str`, *optional*, defaults to `"train"`): Of the repository.

    Returns:
        `datasets.Dataset`

    Raises:
        `FileNotFoundError`: If there is no such file, folder or repository.
        `ValueError`: If a file is of an unknown kind or malformed, a folder leads out of itself, or the repository has
            no such config or split.
    """
    return _load(source, "documents", split, passages_of_files)


@checked(source=path(), split=text(), limit=optional(integer(least=1)))
def load_examples(source: str | os.PathLike[str], split: str = "train", limit: int | None = None) -> Dataset:
    """
    Load training or evaluation examples.

    Args:
        source (`str` or path): A dataset repository (local or on the Hub) with the config `examples`; or a file or
            folder, as for [`load_documents`], of such rows, or of questions with answers and perhaps ids of passages.
        split (`str`, *optional*, defaults to `"train"`)
        limit (`int`, *optional*): Load only the first `limit` examples.

    Returns:
        `datasets.Dataset`

    Raises:
        `FileNotFoundError` or `ValueError`: As [`load_documents`].
    """
    examples = _load(source, "examples", split, examples_of_files)
    return examples if limit is None else examples.select(range(min(limit, len(examples))))


def join(parts: Sequence[Dataset]) -> Dataset:
    """
    Join several datasets into one with the columns that all of them have.

    Raises:
        `ValueError`: If there is none.
    """
    if not parts:
        raise ValueError("datasets is empty: give at least one dataset repository")
    shared = set.intersection(*(set(part.column_names) for part in parts))
    return concatenate_datasets([part.select_columns(sorted(shared)) for part in parts])


def _load(
    source: str | os.PathLike[str], config: str, split: str, read: Callable[[Sequence[Path], Path | None], Dataset]
) -> Dataset:
    path = Path(source)
    if path.is_file():
        check_file(path)
        return read([path], None)
    if path.is_dir():
        check_folder(path)
        if is_saved_dataset(path):
            return load_saved(path, split)
        if is_plain(path, config):
            check_files_in(path)
            files = list(files_in(path))
            warn_of_left_out(path, files)
            return read(files, path)
    elif data_suffix(path) in SUFFIXES:
        raise FileNotFoundError(f"{path}: no such file")
    return _load_config(source, config, split)


def _load_config(source: str | os.PathLike[str], config: str, split: str) -> Dataset:
    try:
        if glob.has_magic(str(source)) and Path(source).is_dir():
            # `datasets` reads [, ? and * in the name of a folder as a pattern.
            files = [glob.escape(str(file)) for file in parquet_files(Path(source), config, split)]
            return load_dataset("parquet", data_files={split: files}, split=split)
        return load_dataset(str(source), config, split=split)
    except (FileNotFoundError, DatasetNotFoundError) as error:
        raise FileNotFoundError(
            f"{source}: no such dataset repository, folder or file. Build one with `onegen-hf build`"
        ) from error
    except ConnectionError as error:
        raise FileNotFoundError(
            f"{source}: no such folder or file here, and the Hub can't be asked: {error}"
        ) from error
    except DatasetGenerationError as error:
        raise ValueError(
            f"{source}: a file of the config {config!r}, split {split!r}, can't be read: {error.__cause__ or error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{source}: cannot load the config {config!r}, split {split!r}: {error}") from error
