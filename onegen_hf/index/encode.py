"""Encoding a corpus: the embedding of every passage, in batches, with progress, resumable."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from .. import checks
from ..checks import Rule, checked, flag, integer, optional, path, shown, text
from ..data.documents import DocumentStore
from ..data.passages import Passage, PassageEncoder
from ..data.splitting import split_long_passages
from ..files import locked_folder
from ..modeling.embed import check_encoder, embed_rows, evaluation_mode
from ..modeling.positions import context_length
from ..similarity import has_direction, normalize, unit_vectors
from .encode_checkpoint import EncodingCheckpoint

logger = logging.getLogger(__name__)

_PROBES = 4
_RULES: dict[str, Rule] = {
    "batch_size": optional(integer(least=1)),
    "max_batch_tokens": optional(integer(least=1)),
    "checkpoint_dir": optional(path()),
    "checkpoint_seconds": checks.number(least=0),
    "show_progress": flag(),
}
_TEXT = text(empty=True)
_TOKENIZED_TOGETHER = 512
BATCH_SIZE, BATCH_TOKENS, GPU_BATCH_TOKENS = 32, 16384, 65536
"""Defaults of a batch. On a GPU it takes many tokens to make up for the launch of the kernels."""
Corpus = Iterable[Passage | Mapping[str, Any] | str]


@dataclass(frozen=True, eq=False)
class EncodedCorpus:
    """
    The embeddings of a corpus, in its order.

    Args:
        embeddings (`np.ndarray` of shape `(n_embeddings, hidden)`, float32): Of unit length.
        owners (`np.ndarray` of shape `(n_embeddings,)`, int64): Number of the passage that each embedding belongs to.
        sentences (`np.ndarray` of shape `(n_embeddings,)`, int64): Number of the sentence within its passage; 0 where
            there is one embedding per passage.
        truncated (`int`): How many passages were cut to the maximal embedded length.
    """

    embeddings: np.ndarray
    owners: np.ndarray
    sentences: np.ndarray
    truncated: int


@dataclass(frozen=True, eq=False)
class _TokenizedCorpus:
    """The token ids of all passages in flat arrays: a list of lists of Python ints would be ten times the size."""

    ids: np.ndarray  # int32
    starts: np.ndarray  # int64, (n_passages + 1,)
    positions: np.ndarray  # int32, (n_embeddings,): of the document tokens, within their passage
    position_starts: np.ndarray  # int64, (n_passages + 1,)
    truncated: int

    def input_ids(self, passage: int) -> list[int]:
        return self.ids[self.starts[passage] : self.starts[passage + 1]].tolist()

    def document_positions(self, passage: int) -> list[int]:
        return self.positions[self.position_starts[passage] : self.position_starts[passage + 1]].tolist()

    def slots(self, passages: np.ndarray) -> np.ndarray:
        """Where the embeddings of these passages stand among all embeddings, passage by passage."""
        return np.concatenate([np.arange(self.position_starts[n], self.position_starts[n + 1]) for n in passages])

    def with_embeddings(self, embeddings: np.ndarray) -> EncodedCorpus:
        counts = np.diff(self.position_starts)
        owners = np.repeat(np.arange(len(counts), dtype=np.int64), counts)  # (n_embeddings,)
        sentences = np.arange(len(owners), dtype=np.int64) - self.position_starts[:-1][owners]
        return EncodedCorpus(embeddings, owners, sentences, self.truncated)

    def digest(self) -> str:
        """Changes with any text, the template, the lengths, the granularity and the tokenizer: all shape the ids."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.ids, self.starts, self.positions, self.position_starts):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def check_settings(**settings: Any) -> None:
    """
    Check arguments of [`encode_passages`] before any work is done.

    Args:
        settings: By name.

    Raises:
        `TypeError` or `ValueError`: If there is no such argument, or its value is out of range.
    """
    unknown = sorted(set(settings) - set(_RULES))
    if unknown:
        name = unknown[0]
        raise TypeError(f"{name}={shown(settings[name])} is no argument of an encoding: it takes {', '.join(_RULES)}")
    checks.check(settings, _RULES)


@checked(**_RULES)
def encode_passages(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    passages: Corpus,
    batch_size: int | None = None,
    max_batch_tokens: int | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
    show_progress: bool = True,
) -> EncodedCorpus:
    """
    Embed every passage of a corpus with the hidden state at its document token (paper section 3.3).

    Passages are run longest first, so that a batch holds little padding and a lack of memory shows at once. Everything
    that can be wrong with a passage is found before the first one is encoded. A warning is logged with the number of
    passages that were cut to the maximal embedded length.

    Args:
        model (`OneGenForCausalLM`): On any device, of any dtype. Put into eval mode meanwhile.
        tokenizer (`PreTrainedTokenizerBase`): The one that belongs to the model.
        passages (`Iterable` or `datasets.Dataset`): As for [`DocumentStore`].
        batch_size (`int`, *optional*): Most passages per batch; by default 32, and no limit on a GPU.
        max_batch_tokens (`int`, *optional*): Most token positions per batch, padding included; a longer passage runs
            alone. By default 16384, and 65536 on a GPU.
        checkpoint_dir (`str` or path, *optional*): Where finished embeddings are kept, so that a second call with the
            same model and corpus goes on after an interruption (another `batch_size` may be given). The files stay:
            [`~PassageIndex.save`] or [`remove_checkpoint`] deletes them.
        checkpoint_seconds (`float`, *optional*, defaults to 30.0): Least time between two writes; a kill costs at most
            that much work. 0 writes after every batch.
        show_progress (`bool`, *optional*, defaults to `True`): Show progress bars.

    Returns:
        [`EncodedCorpus`]

    Raises:
        `TypeError`: If `model` is no OneGen model, or `passages` is a single text or a dataset with splits.
        `ValueError`: If the corpus is empty, ids repeat, a passage has no text or is longer than the model's context,
            the tokenizer does not fit, `checkpoint_dir` belongs to another corpus or model, or an embedding holds NaN.

    Example:

    ```python
    >>> encoded = encode_passages(model, tokenizer, ["Paris is in France.", "Rome is in Italy."])
    >>> encoded.embeddings.shape
    (2, 576)
    ```
    """
    check_encoder(model, tokenizer)
    with ExitStack() as stack:
        if checkpoint_dir is not None:
            stack.enter_context(locked_folder(checkpoint_dir, "an encoding"))
        store = as_document_store(passages)
        encoder = PassageEncoder(tokenizer, model.onegen_config)
        tokenized = _tokenize(encoder, store, context_length(model), show_progress)
        if tokenized.truncated:
            logger.warning(
                "%d of %d passages were cut to %d tokens before embedding. Split them with max_tokens_per_passage=%d, "
                "or raise max_embedded_tokens in OneGenConfig.",
                tokenized.truncated, len(store), encoder.max_embedded, encoder.max_embedded,
            )  # fmt: skip
        run = _Run(model, tokenizer, store, tokenized)
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.inference_mode())
        checkpoint = None if checkpoint_dir is None else run.open_checkpoint(checkpoint_dir)
        on_gpu = model.device.type == "cuda"
        batch_size = batch_size or (len(store) if on_gpu else BATCH_SIZE)
        max_batch_tokens = max_batch_tokens or (GPU_BATCH_TOKENS if on_gpu else BATCH_TOKENS)
        embeddings = run.encode(batch_size, max_batch_tokens, checkpoint, checkpoint_seconds, show_progress)
    return tokenized.with_embeddings(embeddings)


def encode_quietly(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    passages: Sequence[Passage],
    batch_size: int,
    max_batch_tokens: int,
    advance: Callable[[int], None],
) -> EncodedCorpus:
    """
    [`encode_passages`] for a part of a corpus: no checkpoint, no progress bar, and no warning about passages that were
    cut.

    Args:
        model (`OneGenForCausalLM`)
        tokenizer (`PreTrainedTokenizerBase`)
        passages (`Sequence[Passage]`): The batches depend on these alone, so the embeddings do not change with what
            else is encoded.
        batch_size (`int`), max_batch_tokens (`int`): As for [`encode_passages`].
        advance (`Callable`): Called after every batch with its number of passages. What it raises ends the encoding.

    Returns:
        [`EncodedCorpus`]

    Raises:
        `ValueError`: As [`encode_passages`].
    """
    store = as_document_store(passages)
    tokenized = _tokenize(PassageEncoder(tokenizer, model.onegen_config), store, context_length(model), False)
    run = _Run(model, tokenizer, store, tokenized, advance)
    with evaluation_mode(model), torch.inference_mode():
        return tokenized.with_embeddings(run.encode(batch_size, max_batch_tokens))


def check_texts(passages: Iterable[Passage], start: int = 0) -> None:
    """
    Make sure that every id, title, text and sentence can be tokenized and saved.

    Args:
        passages (`Iterable[Passage]`)
        start (`int`, *optional*, defaults to 0): Place of the first one in the corpus.

    Raises:
        `TypeError` or `ValueError`: If one is not a text, or holds half of a surrogate pair; names the passage.
    """
    for number, passage in enumerate(passages, start):
        _check_text(number, passage)


def _check_text(number: int, passage: Passage) -> None:
    name = f"passage {number} (id {shown(passage.id)}):"
    for field in ("id", "title", "text"):
        _TEXT(f"{name} {field}", getattr(passage, field))
    for sentence in passage.sentences:
        _TEXT(f"{name} sentence", sentence)


def as_document_store(passages: Any) -> DocumentStore:
    """
    A [`DocumentStore`] of whatever holds passages; one that is a store already stays itself.

    Raises:
        `TypeError` or `ValueError`: As [`DocumentStore`].
    """
    if isinstance(passages, DocumentStore):
        return passages
    if not isinstance(passages, Iterable) and not hasattr(passages, "__getitem__"):
        raise TypeError(
            f"passages={passages!r} must be a list of passages or a dataset, got {type(passages).__name__}"
        )
    return DocumentStore(passages)


def split_store(
    store: DocumentStore,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens_per_passage: int,
    show_progress: bool = True,
) -> DocumentStore:
    """
    Split long passages and say how many; see [`split_long_passages`].

    Raises:
        `ValueError`: As [`split_long_passages`].
    """
    encoder = PassageEncoder(tokenizer, model.onegen_config)
    split, counts = split_long_passages(store, encoder, max_tokens_per_passage, show_progress)
    if counts:
        logger.warning(
            "%d of %d passages took more than %d tokens and were split into %d pieces (ids such as %r): the corpus "
            "has %d passages now",
            len(counts),
            len(store),
            max_tokens_per_passage,
            sum(counts.values()),
            f"{next(iter(counts))}#0",
            len(split),
        )
    return split


def _tokenize(
    encoder: PassageEncoder, store: DocumentStore, limit: int | None, show_progress: bool
) -> _TokenizedCorpus:
    ids, positions, starts, position_starts = array("i"), array("i"), array("q", [0]), array("q", [0])
    truncated, empty_length = 0, len(encoder.prefix) + 1
    with tqdm(total=len(store), desc="Tokenizing", unit="passage", disable=not show_progress) as bar:
        for first in range(0, len(store), _TOKENIZED_TOGETHER):
            numbers = range(first, min(first + _TOKENIZED_TOGETHER, len(store)))
            passages = [store[number] for number in numbers]
            for number, passage in zip(numbers, passages, strict=True):
                _check_text(number, passage)
            for number, passage, row in zip(numbers, passages, encoder.rows(passages), strict=True):
                if not (passage.text.strip() or passage.title.strip()) or len(row.input_ids) < empty_length + 1:
                    raise ValueError(
                        f"passage {number} (id {shown(passage.id)}) has no text to embed: drop it, or give it a text"
                    )
                if limit is not None and len(row.input_ids) > limit:
                    raise ValueError(
                        f"passage {number} (id {shown(passage.id)}) takes {len(row.input_ids)} tokens, more than the "
                        f"model's context of {limit} (config.max_position_embeddings). Split it, or lower "
                        f"max_embedded_tokens (now {encoder.max_embedded}) in OneGenConfig."
                    )
                truncated += row.truncated
                ids.extend(row.input_ids)
                positions.extend(row.positions)
                starts.append(len(ids))
                position_starts.append(len(positions))
            bar.update(len(passages))
    return _TokenizedCorpus(
        np.asarray(ids, np.int32),
        np.asarray(starts, np.int64),
        np.asarray(positions, np.int32),
        np.asarray(position_starts, np.int64),
        truncated,
    )


class _Run:
    """One pass of a model over the passages of a corpus, longest first."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        store: DocumentStore,
        tokenized: _TokenizedCorpus,
        advance: Callable[[int], None] = lambda passages: None,
    ) -> None:
        self.model, self.store, self.tokenized, self.pad = model, store, tokenized, tokenizer.pad_token_id
        self.advance = advance
        self.lengths = np.diff(tokenized.starts)
        # Stable, so that the order, by which shards are named, is the same in every run.
        self.order = np.argsort(-self.lengths, kind="stable")

    def open_checkpoint(self, directory: str | os.PathLike[str]) -> EncodingCheckpoint:
        manifest = {
            "format": 1,
            "passages": len(self.store),
            "embeddings": len(self.tokenized.positions),
            "corpus_and_settings": self.tokenized.digest(),
            "model_type": self.model.config.model_type,
            "dtype": str(self.model.dtype),
        }
        # The shortest passages: as telling as any, and cheapest to run again at every start.
        return EncodingCheckpoint(directory, manifest, self._embed(self.order[-_PROBES:]))

    def encode(
        self,
        batch_size: int,
        max_tokens: int,
        checkpoint: EncodingCheckpoint | None = None,
        checkpoint_seconds: float = 0.0,
        show_progress: bool = False,
    ) -> np.ndarray:
        embeddings = np.empty((0, 0), np.float32)
        done = written = 0  # places in `order`
        last_write = time.monotonic()

        def put(start: int, stop: int, values: np.ndarray) -> None:
            nonlocal embeddings
            if not embeddings.size:  # the size of a hidden state is known for sure only from one
                embeddings = np.empty((len(self.tokenized.positions), values.shape[1]), np.float32)
            embeddings[self.tokenized.slots(self.order[start:stop])] = values

        def flush() -> None:
            nonlocal written, last_write
            if checkpoint is not None and done > written:
                checkpoint.write(written, done, embeddings[self.tokenized.slots(self.order[written:done])])
                written, last_write = done, time.monotonic()

        for start, stop, values in checkpoint.finished() if checkpoint is not None else ():
            put(start, stop, values)
            done = written = stop
        if done:
            logger.info("%d of %d passages were encoded before", done, len(self.order))
        with tqdm(
            total=len(self.order), initial=done, desc="Encoding", unit="passage", disable=not show_progress
        ) as bar:
            try:
                while done < len(self.order):
                    fitting = max(1, min(batch_size, max_tokens // int(self.lengths[self.order[done]])))
                    stop = min(done + fitting, len(self.order))
                    put(done, stop, self._embed(self.order[done:stop]))
                    bar.update(stop - done)
                    self.advance(stop - done)
                    done = stop
                    if time.monotonic() - last_write >= checkpoint_seconds:
                        flush()
            finally:  # an interruption by the keyboard or for lack of memory keeps what is done
                flush()
        return embeddings

    def _embed(self, passages: np.ndarray) -> np.ndarray:
        """The embeddings of these passages, passage by passage: (n_embeddings, hidden), float32, of unit length."""
        rows = [self.tokenized.input_ids(number) for number in passages]
        positions = [self.tokenized.document_positions(number) for number in passages]
        embeddings = embed_rows(self.model, rows, positions, self.pad)  # (sum of positions, hidden)
        vectors = normalize(embeddings)
        usable = has_direction(vectors)
        if not bool(usable.all()):
            bad = int((~usable).nonzero()[0, 0])
            number = int(np.repeat(passages, [len(places) for places in positions])[bad])
            unit_vectors(embeddings[bad : bad + 1], f"passage {number} (id {self.store.ids[number]!r})")
        return vectors.cpu().numpy()
