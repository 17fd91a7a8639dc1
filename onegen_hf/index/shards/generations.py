"""Generations: a folder of shards holds one encoding, and while it is brought up to date the next one beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .layout import ShardFolder, read_json
from .staging import CorpusSettings


def latest_generation(root: Path) -> ShardFolder | None:
    """The newest encoding in a folder, finished or not; `None` if there is none."""
    numbers = _numbers(root)
    return ShardFolder(root / str(numbers[-1])) if numbers else None


def open_generation(root: Path, corpus: CorpusSettings, update: bool) -> tuple[ShardFolder, ShardFolder | None]:
    """
    The encoding to work on, and a finished one of an earlier state of the corpus.

    Args:
        root (`Path`): The folder of all generations.
        corpus ([`CorpusSettings`])
        update (`bool`): Begin another generation if the newest one is of another corpus.
    """
    numbers = _numbers(root)
    newest = numbers[-1] if numbers else 1
    stored = read_json(ShardFolder(root / str(newest)).corpus_file)
    if update and stored is not None:
        is_finished = ShardFolder(root / str(newest)).manifest_file.is_file()
        # Two streams without an identity may differ. Where one is staged in part, its hashes tell.
        if stored.get("identity") != corpus.identity or (is_finished and corpus.identity is None):
            newest += 1
    folder = ShardFolder(root / str(newest))
    finished = [number for number in numbers if number < newest and (root / str(number) / "manifest.json").is_file()]
    return folder, ShardFolder(root / str(finished[-1])) if finished else None


def remove_earlier(folder: ShardFolder) -> None:
    """Delete the generations before this one."""
    root, newest = folder.root.parent, int(folder.root.name)
    for number in _numbers(root):
        if number < newest:
            shutil.rmtree(root / str(number), ignore_errors=True)


def _numbers(root: Path) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(root) if name.isascii() and name.isdigit())
    except FileNotFoundError:
        return []
