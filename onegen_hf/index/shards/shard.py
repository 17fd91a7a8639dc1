"""An encoded shard on disk: its vectors, its passages, and what must be true of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ...data.passages import Passage
from ...files import atomic_folder
from ..passage_table import WRITE_ERRORS, read_passages, write_passages
from ..text_hash import as_halves, hash_text
from .layout import read_json
from .tensor_file import mapped_tensors

DTYPES: dict[str, Any] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}
"""Precision of the vectors in a shard → their type."""
_VECTORS, _PASSAGES, SUMMARY_FILE = "embeddings.safetensors", "passages.parquet", "shard.json"
SHARD_FILES = (_PASSAGES, _VECTORS, SUMMARY_FILE)
_BLOCK = 2**20


@dataclass(frozen=True)
class ShardSummary:
    """
    What is in an encoded shard.

    Args:
        passages (`int`): Number of passages; pieces count where long ones were split.
        embeddings (`int`): Number of vectors.
        dimension (`int`): Of a vector.
        truncated (`int`): Passages that were cut to what the model embeds.
        split (`int`): Passages that were split.
        reused (`int`): Passages whose vectors are those of an earlier encoding.
        files (`dict`): Name → `{"bytes": ..., "sha256": ...}`.
        number (`int`, *optional*): Which shard of the encoding it is; older releases did not say so.
    """

    passages: int
    embeddings: int
    dimension: int
    truncated: int
    split: int
    reused: int
    files: dict[str, dict[str, Any]]
    number: int | None = None


def write_shard(
    path: Path,
    passages: Sequence[Passage],
    counts: np.ndarray,
    vectors: np.ndarray,
    precision: str,
    truncated: int,
    split: int,
    reused: int,
) -> None:
    """
    Write a shard in one step. If another worker has written it meanwhile, that one stays: both are equal.

    Args:
        path (`Path`): The folder, whose name is the number of the shard.
        passages (`Sequence[Passage]`)
        counts (`np.ndarray` of shape `(n_passages,)`, int32): Vectors of each passage.
        vectors (`np.ndarray` of shape `(n_vectors, dimension)`, float32)
        precision (`str`): `"float32"` or `"float16"`.
        truncated (`int`), split (`int`), reused (`int`): As in [`ShardSummary`].

    Raises:
        `OSError`: If it cannot be written, for instance because the disk is full.
    """
    path.parent.mkdir(exist_ok=True)
    hashes = as_halves([hash_text(passage) for passage in passages])
    try:
        with atomic_folder(path) as folder:
            tensors = {"embeddings": vectors.astype(DTYPES[precision]), "counts": counts, "texts": hashes}
            save_file(tensors, folder / _VECTORS)
            write_passages(passages, counts.tolist(), folder / _PASSAGES)
            files = {name: _checked_file(folder / name) for name in (_PASSAGES, _VECTORS)}
            dimension = int(vectors.shape[1])
            summary = ShardSummary(
                len(passages), len(vectors), dimension, truncated, split, reused, files, int(path.name)
            )
            content = json.dumps(asdict(summary), sort_keys=True) + "\n"
            (folder / SUMMARY_FILE).write_text(content, encoding="utf-8")
    except (SafetensorError, *WRITE_ERRORS) as error:
        raise OSError(f"{path} could not be written ({error}): free some space, or choose another folder") from error


class Shard:
    """
    An encoded shard, read from disk as it is asked for.

    Args:
        path (`Path`): The folder.

    Raises:
        `ValueError`: If a file is missing, has another size than was written, or is of another shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_json(path / SUMMARY_FILE)
        if content is None:
            raise ValueError(f"{path / SUMMARY_FILE} is missing: {self._remedy}")
        try:
            self.summary = ShardSummary(**content)
            for name in (_PASSAGES, _VECTORS):
                expected = self.summary.files[name]["bytes"]
                actual = (path / name).stat().st_size
                if actual != expected:
                    raise ValueError(f"{path / name} has {actual} bytes instead of {expected}: {self._remedy}")
        except (TypeError, KeyError, FileNotFoundError) as error:
            raise ValueError(f"{path} is damaged ({error}): {self._remedy}") from error
        if self.summary.number not in (None, int(path.name)):
            raise ValueError(f"{path} is another shard, number {self.summary.number}: {self._remedy}")
        try:
            self._tensors = mapped_tensors(path / _VECTORS)
        except ValueError as error:
            raise ValueError(f"{error.args[0].partition(': write')[0]}: {self._remedy}") from error

    @property
    def _remedy(self) -> str:
        return f"delete {self.path} and manifest.json, and encode again; only this shard is encoded"

    def check(self) -> None:
        """
        Read all files, and compare them with their checksums.

        Raises:
            `ValueError`: If one of them is not what was written.
        """
        for name in (_PASSAGES, _VECTORS):
            if _checked_file(self.path / name) != self.summary.files[name]:
                raise ValueError(f"{self.path / name} is not what was written, by its checksum: {self._remedy}")

    @property
    def vectors(self) -> np.ndarray:
        """`(n_vectors, dimension)`, mapped, in the precision of the encoding."""
        return self._tensors["embeddings"]

    @property
    def counts(self) -> np.ndarray:
        """Vectors of each passage: `(n_passages,)`, int32."""
        return self._tensors["counts"]

    @property
    def text_hashes(self) -> np.ndarray:
        """Hashes of the texts of the passages: `(n_passages, 2)`, uint64."""
        return self._tensors["texts"]

    def passages(self) -> Iterator[Passage]:
        """The passages, in order."""
        return (passage for passage, _ in read_passages(self.path / _PASSAGES))


def _checked_file(path: Path) -> dict[str, Any]:
    digest, num_bytes = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            num_bytes += len(block)
    return {"bytes": num_bytes, "sha256": digest.hexdigest()}
