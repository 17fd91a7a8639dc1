"""A dataset repository on disk: replaced as a whole, with the README that `load_dataset` reads written last."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")
_UNFINISHED = ".building"


def check_split(name: str) -> str:
    """
    Give back the name of a split if `datasets` accepts it.

    Raises:
        `ValueError`: If it holds something else than letters, digits, `_` and dots between them.
    """
    if not _SPLIT_NAME.fullmatch(name):
        raise ValueError(f"the split {name!r} has no valid name; use letters, digits and `_`.")
    return name


@contextmanager
def replaced_repository(out_dir: str | PathLike[str]) -> Iterator[Path]:
    """
    Give a folder to write a repository into, and put it in place of the one in `out_dir` when all went well.

    Until then `out_dir` keeps what it has. The README goes first and comes last, so that a build that is killed in
    between leaves nothing that looks whole. Of what is there only the README, the report and the Parquet files of the
    two configs are replaced.

    Args:
        out_dir (`str` or `PathLike`):
            The folder of the repository; made if needed.

    Returns:
        `Iterator[Path]`: The folder to write into, as a context manager.
    """
    root = Path(out_dir)
    unfinished = root / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        (root / "README.md").unlink(missing_ok=True)
        for old in (*root.glob("documents/*.parquet"), *root.glob("examples/*.parquet")):
            old.unlink()
        files = (file.relative_to(unfinished) for file in sorted(unfinished.rglob("*")) if file.is_file())
        for file in sorted(files, key=lambda file: file.name == "README.md"):
            (root / file).parent.mkdir(exist_ok=True)
            (unfinished / file).replace(root / file)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
