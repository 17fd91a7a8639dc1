"""Write documents and examples that are in memory as a dataset repository, one Parquet file per split."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

from datasets import Dataset

from data_builders.card import dataset_card
from data_builders.repository import locked_repository


def write_repository(
    out_dir: str | PathLike[str],
    documents: Dataset,
    examples: Mapping[str, Dataset],
    *,
    title: str,
    description: str = "",
) -> list[Path]:
    """
    Write a dataset repository that `load_dataset(out_dir, "documents")` opens.

    Every file is written beside its place and then renamed, so that a reader never sees half a file. The README comes
    last. Equal input gives equal bytes.

    Args:
        out_dir (`str` or `PathLike`):
            The folder; made if needed.
        documents (`Dataset`):
            All passages; written as the split `train`.
        examples (`Mapping[str, Dataset]`):
            The examples of each split.
        title (`str`):
            Heading of the README.
        description (`str`, *optional*, defaults to `""`):
            Its text.

    Returns:
        `list[Path]`: The files written.

    Raises:
        `RepositoryLockedError`: At once, if somebody else is writing there.
    """
    with locked_repository(out_dir) as root:
        return _write(root, documents, examples, title, description)


def _write(
    root: Path, documents: Dataset, examples: Mapping[str, Dataset], title: str, description: str
) -> list[Path]:
    tables = {"documents/train.parquet": documents}
    tables.update({f"examples/{split}.parquet": table for split, table in examples.items()})
    written = []
    for name, table in tables.items():
        written.append(_replace(root / name, lambda path, table=table: table.to_parquet(path)))  # type: ignore[misc]
    report = {
        "documents": {"documents": len(documents)},
        "splits": {split: {"examples": len(table)} for split, table in examples.items()},
    }
    paths = {"documents": "documents/train.parquet", **{split: f"examples/{split}.parquet" for split in examples}}
    text = str(dataset_card(report, paths, title, description, folder=root))
    written.append(_replace(root / "README.md", lambda path: path.write_text(text, encoding="utf-8")))
    return written


def _replace(path: Path, write: Callable[[Path], object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        left.unlink(missing_ok=True)  # of a killed process: the lock is ours
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
