"""`ShardFolder`: where everything lies in the folder that the workers of an encoding share."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

_NUMBER = re.compile(r"\d{8}")


class ShardFolder:
    """
    The files of one encoding.

    ```
    corpus.json            which corpus, and how it is cut into shards: what staging depends on
    staged/00000000.*      passages of a shard that are to be encoded, and their hashes
    staged.json            written when all shards are staged
    encoding.json          which model, and how it is run: what the embeddings depend on
    shards/00000000/       an encoded shard: embeddings.safetensors, passages.parquet, shard.json
    leases/, workers/      who does what, and how far they are
    manifest.json          written last: all shards with their sizes and checksums
    ```

    Args:
        root (`Path`)
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.corpus_file, self.staged_file = root / "corpus.json", root / "staged.json"
        self.encoding_file, self.manifest_file = root / "encoding.json", root / "manifest.json"
        self.leases, self.workers = root / "leases", root / "workers"

    def staged_passages(self, shard: int) -> Path:
        """The Parquet file with the passages of a shard."""
        return self.root / "staged" / f"{shard:08d}.parquet"

    def staged_hashes(self, shard: int) -> Path:
        """The hashes of the ids and texts of a shard. Written last: a shard with this file is staged."""
        return self.root / "staged" / f"{shard:08d}.safetensors"

    @property
    def repeats_file(self) -> Path:
        """Which passages have the text of an earlier one."""
        return self.root / "staged" / "repeats.safetensors"

    def shard(self, shard: int) -> Path:
        """The folder of an encoded shard. It appears in one step, complete."""
        return self.root / "shards" / f"{shard:08d}"

    def finished(self) -> set[int]:
        """The shards that are encoded."""
        return _numbers(self.root / "shards")

    def num_staged(self) -> int:
        """How many shards are staged, from the first one on."""
        staged = _numbers(self.root / "staged", ".safetensors")
        return next(number for number in range(len(staged) + 1) if number not in staged)

    def staging(self) -> dict[str, Any] | None:
        """
        The content of staged.json: the numbers of `passages` and `shards`, the hash of the `beginning` of the corpus,
        and the `digest` of all of it; `None` while shards are being staged.
        """
        return read_json(self.staged_file)

    def clean_up(self) -> None:
        """Delete what only workers need, and what killed ones have left, once the manifest is there."""
        self.staged_file.unlink(missing_ok=True)  # first: the corpus is staged again if a shard has to be
        for folder in ("staged", "leases", "workers"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
        for left in [*self.root.glob(".*.tmp"), *(self.root / "shards").glob(".*.tmp")]:
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """
    The object in a JSON file; `None` if there is no such file.

    Raises:
        `ValueError`: If it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): delete {path.parent}, and encode again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (it holds no object): delete {path.parent}, and encode again")
    return content


def _numbers(folder: Path, suffix: str = "") -> set[int]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return set()
    stems = [name.removesuffix(suffix) for name in names if name.endswith(suffix)]
    return {int(stem) for stem in stems if _NUMBER.fullmatch(stem)}
