"""`Manifest`: a finished encoding, with the sizes and checksums of all its shards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from ...checks import choice, integer, shown
from ...files import write_text_atomically
from ..fingerprint import ModelFingerprint
from ..text_hash import as_halves, hash_id
from .layout import ShardFolder, read_json
from .shard import DTYPES, Shard, ShardSummary
from .sorted_hashes import repeated, sort_hashes

FORMAT_VERSION = 1


class Manifest:
    """
    What manifest.json says of a finished encoding.

    Args:
        folder ([`ShardFolder`])
        content (`dict[str, Any]`)

    Attributes:
        fingerprint ([`ModelFingerprint`]): Of the model that made the vectors.
        summaries (`list[ShardSummary]`): One for each shard.
    """

    def __init__(self, folder: ShardFolder, content: dict[str, Any]) -> None:
        self.folder, self.content = folder, content
        try:
            version = integer(least=1)("format_version", content["format_version"])
            if version > FORMAT_VERSION:
                raise ValueError(f"format version {version}: pip install --upgrade onegen-hf")
            self.summaries = [ShardSummary(**summary) for summary in content["shards"]]
            self.fingerprint = ModelFingerprint.from_dict(content["fingerprint"])
            self.num_passages = int(content["passages"])
            self.num_vectors = int(content["embeddings"])
            self.dimension, self.precision = int(content["dimension"]), str(content["precision"])
            self.model_id, self.revision = content["model_id"], content["revision"]
            self.truncated = int(content["truncated"])
            self._require_agreement()
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{folder.manifest_file} is damaged ({error}): delete it, and encode again") from error

    @classmethod
    def read(cls, folder: ShardFolder) -> Manifest:
        """
        Raises:
            `FileNotFoundError`: If the encoding is not finished.
            `ValueError`: If the manifest is damaged.
        """
        content = read_json(folder.manifest_file)
        if content is None:
            raise FileNotFoundError(
                f"{folder.manifest_file} is missing: this is no finished encoding. Run `encode_shards` or "
                "`onegen-hf index --shards` to its end"
            )
        return cls(folder, content)

    @classmethod
    def write(cls, folder: ShardFolder, staging: dict[str, Any]) -> Manifest:
        """
        Sum up all shards of a folder.

        Args:
            folder ([`ShardFolder`])
            staging (`dict[str, Any]`): As [`ShardFolder.staging`] gives it.

        Raises:
            `ValueError`: If a shard is damaged, or, where passages were split, a piece has the id of another passage.
        """
        summaries = [Shard(folder.shard(number)).summary for number in range(staging["shards"])]
        manifest = cls.of(folder, read_json(folder.encoding_file) or {}, staging, summaries)
        manifest.save()
        return manifest

    @classmethod
    def of(
        cls, folder: ShardFolder, encoding: dict[str, Any], staging: dict[str, Any], summaries: list[ShardSummary]
    ) -> Manifest:
        """
        The manifest of shards. The content depends on nothing but them.

        Args:
            folder ([`ShardFolder`])
            encoding (`dict[str, Any]`): The content of encoding.json.
            staging (`dict[str, Any]`): As [`ShardFolder.staging`] gives it.
            summaries (`list[ShardSummary]`): Of all shards, in order.
        """
        content = {
            **encoding,
            "format_version": FORMAT_VERSION,
            "corpus": {name: staging[name] for name in ("passages", "beginning")},
            "dimension": summaries[0].dimension,
            "passages": sum(summary.passages for summary in summaries),
            "embeddings": sum(summary.embeddings for summary in summaries),
            "truncated": sum(summary.truncated for summary in summaries),
            "shards": [asdict(summary) for summary in summaries],
        }
        return cls(folder, content)

    def to_json(self) -> str:
        """The content of manifest.json."""
        return json.dumps(self.content, sort_keys=True) + "\n"

    def save(self) -> None:
        """
        Write manifest.json into the folder, whose shards are all there.

        Raises:
            `ValueError`: If, where passages were split, a piece has the id of another passage.
        """
        if any(summary.split for summary in self.summaries):
            self._require_distinct_ids()
        write_text_atomically(self.folder.manifest_file, self.to_json())

    def shard(self, number: int) -> Shard:
        """
        An encoded shard.

        Raises:
            `ValueError`: If it is damaged, or another one than the manifest names.
        """
        shard = Shard(self.folder.shard(number))
        if shard.summary != self.summaries[number]:
            raise ValueError(
                f"{shard.path} is another shard than {self.folder.manifest_file} names: delete both, and encode again"
            )
        return shard

    def shards(self) -> Iterator[Shard]:
        """All shards, in order."""
        return map(self.shard, range(len(self.summaries)))

    def _require_agreement(self) -> None:
        choice(list(DTYPES))("precision", self.precision)
        for name, number in (("passages", self.num_passages), ("embeddings", self.num_vectors)):
            total = sum(getattr(summary, name) for summary in self.summaries)
            if number != total or number < 1:
                raise ValueError(f"{name}={number}, and its shards have {total}")
        dimensions = {summary.dimension for summary in self.summaries}
        if dimensions != {self.dimension}:
            raise ValueError(f"dimension={self.dimension}, and its shards have {sorted(dimensions)}")

    def _require_distinct_ids(self) -> None:
        path = self.folder.root / "ids.sorted"
        hashes = (as_halves([hash_id(passage.id) for passage in shard.passages()]) for shard in self.shards())
        sort_hashes(hashes, self.num_passages, path)
        try:
            for later, _ in repeated(path):
                raise ValueError(
                    f"the id {shown(self._id_of(int(later[0])))} stands for a passage and for a piece of another one "
                    "that was split: rename the passage, or choose another max_tokens_per_passage"
                )
        finally:
            path.unlink()

    def _id_of(self, row: int) -> str:
        ends = np.cumsum([summary.passages for summary in self.summaries])
        number = int(np.searchsorted(ends, row, side="right"))
        first = int(ends[number]) - self.summaries[number].passages
        return next(p.id for place, p in enumerate(self.shard(number).passages(), first) if place == row)
