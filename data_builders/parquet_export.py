"""Write documents and examples as a dataset repository: Parquet files and the README that `load_dataset` reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

from datasets import Dataset

_README = """---
configs:
- config_name: documents
  data_files:
  - split: train
    path: documents/train.parquet
- config_name: examples
  data_files:
{splits}
---

# {title}

{description}

| file | rows |
|---|---|
{rows}

`documents` holds the passages of every split. `examples` refers to them by id, one list of `positives` and `negatives`
per query token of the assistant's message, in order.
"""


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
    """
    root = Path(out_dir)
    tables = {"documents/train.parquet": documents}
    tables.update({f"examples/{split}.parquet": table for split, table in examples.items()})
    written = []
    for name, table in tables.items():
        written.append(_replace(root / name, lambda path, table=table: table.to_parquet(path)))  # type: ignore[misc]
    splits = "\n".join(f"  - split: {split}\n    path: examples/{split}.parquet" for split in examples)
    rows = "\n".join(f"| `{name}` | {len(table)} |" for name, table in tables.items())
    text = _README.format(splits=splits, title=title, description=description, rows=rows)
    written.append(_replace(root / "README.md", lambda path: path.write_text(text, encoding="utf-8")))
    return written


def _replace(path: Path, write: Callable[[Path], object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
