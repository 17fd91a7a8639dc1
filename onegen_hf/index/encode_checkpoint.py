"""`EncodingCheckpoint`: finished embeddings of a corpus on disk, so that a killed encoding can go on."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..files import atomic_file, write_text_atomically

logger = logging.getLogger(__name__)

MANIFEST_FILE = "manifest.json"
PROBE_FILE = "probe.safetensors"
_SHARD = re.compile(r"embeddings-(\d{10})-(\d{10})\.safetensors")
# Rounding costs little: even float32 against bfloat16 gave 0.9997 for SmolLM2-135M; ten steps at 1e-5 gave 0.998.
SAME_WEIGHTS_COSINE = 0.999


class EncodingCheckpoint:
    """
    A directory of shards, each with the embeddings of consecutive passages in the order of encoding.

    The manifest names what is being encoded. It holds no hash of the weights: the embeddings of a few passages are
    compared instead, which also reveals other weights under the same name.

    Args:
        directory (`str` or path): Created if it is missing.
        manifest (`Mapping[str, Any]`): JSON-serialisable facts; a directory with other ones is refused.
        probe (`np.ndarray` of shape `(n, hidden)`, float32): Normalised embeddings of a few passages.

    Raises:
        `ValueError`: If the directory belongs to another corpus, model or setting, or its manifest is missing.
    """

    def __init__(self, directory: str | os.PathLike[str], manifest: Mapping[str, Any], probe: np.ndarray) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / MANIFEST_FILE
        if path.is_file():
            self._check(path, manifest, probe)
            return
        if self._shards():
            self._refuse(f"shards without a {MANIFEST_FILE}")
        with atomic_file(self.directory / PROBE_FILE, SafetensorError) as temporary:
            save_file({"probe": probe}, temporary)
        # Last: a directory with a manifest is complete enough to be resumed.
        write_text_atomically(path, json.dumps(dict(manifest), indent=2, sort_keys=True) + "\n")

    def _refuse(self, what: str) -> None:
        raise ValueError(
            f"checkpoint_dir {self.directory} holds {what}. Give the same model, corpus and settings to go on, delete "
            "the directory to start over, or choose another one."
        )

    def _check(self, path: Path, manifest: Mapping[str, Any], probe: np.ndarray) -> None:
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            old = load_file(self.directory / PROBE_FILE)["probe"]
        except (ValueError, OSError, SafetensorError, KeyError) as error:
            self._refuse(f"an unreadable {MANIFEST_FILE} or {PROBE_FILE} ({error})")
        different = sorted(key for key in {*manifest, *stored} if manifest.get(key) != stored.get(key))
        if different:
            details = ", ".join(f"{key} was {stored.get(key)!r} and is now {manifest.get(key)!r}" for key in different)
            self._refuse(f"a half-finished encoding of another corpus, model or setting: {details}")
        cosine = float((old * probe).sum(axis=1).min()) if old.shape == probe.shape else float("nan")
        if not cosine >= SAME_WEIGHTS_COSINE:
            self._refuse(
                f"embeddings of a model with other weights (cosine {cosine:.4f} instead of at least "
                f"{SAME_WEIGHTS_COSINE} for the same passage)"
            )

    def _shards(self) -> dict[int, tuple[int, Path]]:
        """Start of each shard → its end and file; of two with one start, the longer one."""
        shards: dict[int, tuple[int, Path]] = {}
        for file in sorted(self.directory.iterdir()):
            match = _SHARD.fullmatch(file.name)
            if match:
                shards[int(match[1])] = (int(match[2]), file)
        return shards

    def finished(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """
        Read what is done, from the first passage up to the first gap.

        Yields:
            `tuple[int, int, np.ndarray]`: First passage, end (exclusive) and embeddings of each shard, float32.
        """
        shards, start = self._shards(), 0
        while start in shards:
            stop, file = shards[start]
            try:
                embeddings = load_file(file)["embeddings"]
            except (SafetensorError, OSError, KeyError) as error:
                logger.warning("%s is damaged (%s): its passages are encoded again", file, error)
                file.unlink(missing_ok=True)
                break
            yield start, stop, embeddings
            start = stop

    def write(self, start: int, stop: int, embeddings: np.ndarray) -> None:
        """Store the embeddings of the passages from `start` to `stop` (exclusive), in the order of encoding."""
        shard = self.directory / f"embeddings-{start:010d}-{stop:010d}.safetensors"
        with atomic_file(shard, SafetensorError) as temporary:
            save_file({"embeddings": embeddings}, temporary)


def remove_checkpoint(directory: str | os.PathLike[str]) -> None:
    """Delete the files of an [`EncodingCheckpoint`], and its directory if that is then empty."""
    root = Path(directory)
    if not root.is_dir():
        return
    # The manifest goes first: what is left after a kill in between is refused, not resumed with a gap.
    (root / MANIFEST_FILE).unlink(missing_ok=True)
    for file in list(root.iterdir()):
        if file.name == PROBE_FILE or _SHARD.fullmatch(file.name):
            file.unlink()
    if not any(root.iterdir()):
        root.rmdir()
