"""`ShardEncoder`: a model that turns the passages of a shard into vectors, the same ones whoever runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ...data.passages import Passage, PassageEncoder
from ...data.splitting import check_max_tokens, split_passage
from ...files import write_text_atomically
from ...modeling.embed import check_encoder
from ..encode import BATCH_SIZE, BATCH_TOKENS, GPU_BATCH_TOKENS, encode_quietly
from ..encode_checkpoint import SAME_WEIGHTS_COSINE
from ..fingerprint import ModelFingerprint
from ..from_embeddings import embeddings_per_passage
from ..model_name import model_name
from .layout import ShardFolder, read_json
from .reuse import EarlierVectors
from .shard import write_shard

FORMAT_VERSION = 1
_NO_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class EncodingSettings:
    """
    What the vectors of a shard depend on, beside the model.

    Args:
        batch_size (`int`, *optional*): Most passages per batch; by default 32, and no limit on a GPU.
        max_batch_tokens (`int`, *optional*): Most token positions per batch, padding included; by default 16384, and
            65536 on a GPU.
        max_tokens_per_passage (`int`, *optional*): Split longer passages.
        precision (`str`): Of the vectors on disk: `"float32"` or `"float16"`.
    """

    batch_size: int | None = None
    max_batch_tokens: int | None = None
    max_tokens_per_passage: int | None = None
    precision: str = "float32"


class ShardEncoder:
    """
    Encodes shards with one model. The batches of a shard depend on its passages and on the settings alone, so every
    worker computes the same bits on the same kind of device.

    Args:
        model (`OneGenForCausalLM`)
        tokenizer (`PreTrainedTokenizerBase`)
        settings ([`EncodingSettings`])
        model_id (`str`, *optional*), revision (`str`, *optional*): As for [`PassageIndex.build`].

    Raises:
        `TypeError` or `ValueError`: If `model` is no OneGen model, the tokenizer does not fit, or
            `max_tokens_per_passage` is more than the model embeds.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodingSettings,
        model_id: str | None = None,
        revision: str | None = None,
    ) -> None:
        check_encoder(model, tokenizer)
        self.model, self.tokenizer = model, tokenizer
        on_gpu = model.device.type == "cuda"
        # Resolved, because all workers have to form the same batches.
        self.settings = replace(
            settings,
            batch_size=settings.batch_size or (_NO_LIMIT if on_gpu else BATCH_SIZE),
            max_batch_tokens=settings.max_batch_tokens or (GPU_BATCH_TOKENS if on_gpu else BATCH_TOKENS),
        )
        self._passages = PassageEncoder(tokenizer, model.onegen_config)
        if settings.max_tokens_per_passage is not None:
            check_max_tokens(settings.max_tokens_per_passage, self._passages)
        self.fingerprint = ModelFingerprint.of(model, tokenizer)
        self.model_id, self.revision = model_name(model, model_id, revision)

    def join(self, folder: ShardFolder) -> None:
        """
        Write the model and the settings into a folder, or compare them with those that are there.

        Raises:
            `ValueError`: If another model, or other settings, encode there.
        """
        if not folder.encoding_file.exists():
            folder.root.mkdir(parents=True, exist_ok=True)
            content = {
                "format_version": FORMAT_VERSION,
                "fingerprint": self.fingerprint.to_dict(),
                "dtype": str(self.model.dtype),
                "model_id": self.model_id,
                "revision": self.revision,
                **asdict(self.settings),
            }
            write_text_atomically(folder.encoding_file, json.dumps(content, sort_keys=True) + "\n")
        self.require_same(read_json(folder.encoding_file) or {}, folder.root)

    def require_same(self, encoding: dict[str, Any], place: object) -> None:
        """
        Compare the model and the settings with those that encode somewhere.

        Args:
            encoding (`dict[str, Any]`): The content of encoding.json.
            place (`object`): What the error calls the folder or repository that it is from.

        Raises:
            `ValueError`: If they differ.
        """
        difference = self._difference(encoding)
        if difference is not None:
            raise ValueError(
                f"{place} holds the shards of another model, or of other settings: {difference}. Give the same "
                "ones to go on, or another place"
            )

    def encode(
        self, passages: list[Passage], advance: Callable[[int], None], earlier: EarlierVectors | None = None
    ) -> tuple[list[Passage], np.ndarray, np.ndarray, dict[str, int]]:
        """
        Embed the passages of a shard.

        Args:
            passages (`list[Passage]`)
            advance (`Callable`): Called with the number of passages whenever some are done; may raise.
            earlier ([`EarlierVectors`], *optional*): Vectors that need not be computed again.

        Returns:
            `tuple`: The passages, with pieces in the place of those that were split; the number of vectors of each
            (int32); all vectors, float32; and how many were `truncated`, `split` and `reused`.

        Raises:
            `ValueError`: If a passage is longer than the context of the model, its title leaves no room for text, or
                an embedding holds NaN.
        """
        pieces, split = self._pieces(passages)
        counts = embeddings_per_passage(pieces, self.model.onegen_config.granularity).astype(np.int32)
        known = np.zeros(len(pieces), bool) if earlier is None else earlier.knows(pieces, counts)
        new = [piece for piece, is_known in zip(pieces, known, strict=True) if not is_known]
        advance(int(known.sum()))
        truncated = 0
        vectors = np.empty((int(counts.sum()), self.fingerprint.probes.shape[1]), np.float32)
        is_known_row = np.repeat(known, counts)
        if new:
            encoded = encode_quietly(
                self.model,
                self.tokenizer,
                new,
                self.settings.batch_size or BATCH_SIZE,
                self.settings.max_batch_tokens or BATCH_TOKENS,
                advance,
            )
            truncated = encoded.truncated
            vectors[~is_known_row] = encoded.embeddings
        if earlier is not None and known.any():
            vectors[is_known_row] = earlier.take([piece for piece, k in zip(pieces, known, strict=True) if k])
        return pieces, counts, vectors, {"truncated": truncated, "split": split, "reused": int(known.sum())}

    def encode_shard(
        self,
        folder: ShardFolder,
        shard: int,
        passages: list[Passage],
        advance: Callable[[int], None],
        earlier: EarlierVectors | None = None,
    ) -> None:
        """Embed the passages of a shard and write it. Arguments and errors as for [`encode`], or `OSError`."""
        try:
            pieces, counts, vectors, notes = self.encode(passages, advance, earlier)
        except ValueError as error:
            raise ValueError(f"shard {shard}: {error}") from error
        write_shard(folder.shard(shard), pieces, counts, vectors, self.settings.precision, **notes)

    def _pieces(self, passages: list[Passage]) -> tuple[list[Passage], int]:
        most = self.settings.max_tokens_per_passage
        if most is None:
            return passages, 0
        parts = [split_passage(passage, self._passages, most) for passage in passages]
        return [piece for part in parts for piece in part], sum(len(part) > 1 for part in parts)

    def _difference(self, stored: dict[str, Any]) -> str | None:
        settings = {**asdict(self.settings), "dtype": str(self.model.dtype)}
        for name, value in settings.items():
            if stored.get(name) != value:
                return f"{name} was {stored.get(name)!r} and is now {value!r}"
        before = ModelFingerprint.from_dict(stored.get("fingerprint", {}))
        difference = before.difference(self.fingerprint)
        if difference is None:
            cosine = float((before.probes * self.fingerprint.probes).sum(axis=1).min())
            if not cosine >= SAME_WEIGHTS_COSINE:
                difference = f"other weights (cosine {cosine:.4f}, below {SAME_WEIGHTS_COSINE})"
        return difference
