"""Passages that are too long to be embedded whole, as several that are not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from data_builders.single_hop.sentences import split_sentences

from ..checks import integer
from .documents import Corpus
from .passages import Passage, PassageEncoder

_WORD = re.compile(r"\S+")
_PARAGRAPH = re.compile(r"\S(?:.|\n(?!\s*\n))*")
Span = tuple[int, int]


class SplitCorpus(Corpus):
    """
    A corpus in which some passages stand as several.

    Args:
        base ([`Corpus`])
        pieces (`Mapping[int, list[Passage]]`): Row in `base` → what stands in its place.

    Raises:
        `ValueError`: If the id of a piece is that of another passage.
    """

    def __init__(self, base: Corpus, pieces: Mapping[int, list[Passage]]) -> None:
        self._base = base
        self._pieces = [piece for row in sorted(pieces) for piece in pieces[row]]
        # Rows of the base and, counted after them, pieces.
        counts = np.asarray([len(pieces.get(row, ("itself",))) for row in range(len(base))], np.int64)
        self._sources = np.repeat(np.arange(len(base)), counts)
        is_piece = np.isin(self._sources, sorted(pieces))
        self._sources[is_piece] = len(base) + np.arange(len(self._pieces))
        self._set_ids([self._pieces[n - len(base)].id if n >= len(base) else base.ids[n] for n in self._sources])

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, row: Any) -> Any:
        source = int(self._sources[row])
        return self._base[source] if source < len(self._base) else self._pieces[source - len(self._base)]


def split_long_passages(
    corpus: Corpus, encoder: PassageEncoder, max_tokens: int, show_progress: bool = True
) -> tuple[Corpus, dict[str, int]]:
    """
    Split the passages of a corpus that take more than `max_tokens` tokens when they are embedded.

    Args:
        corpus ([`Corpus`])
        encoder ([`PassageEncoder`])
        max_tokens (`int`): Most tokens of a passage, with its title and the checkpoint's template; at most what the
            model embeds (`max_embedded_tokens`).
        show_progress (`bool`, *optional*, defaults to `True`)

    Returns:
        `tuple[Corpus, dict[str, int]]`: The corpus, and for each passage that was split, by its id, the number of its
        pieces.

    Raises:
        `ValueError`: If `max_tokens` is out of range, a title leaves no room for text, or the id of a piece is that of
            another passage.
    """
    check_max_tokens(max_tokens, encoder)
    pieces: dict[int, list[Passage]] = {}
    for row in tqdm(range(len(corpus)), desc="Splitting", unit="passage", disable=not show_progress):
        parts = split_passage(corpus[row], encoder, max_tokens)
        if len(parts) > 1:
            pieces[row] = parts
    counts = {corpus.ids[row]: len(parts) for row, parts in pieces.items()}
    return SplitCorpus(corpus, pieces) if pieces else corpus, counts


def check_max_tokens(max_tokens: int, encoder: PassageEncoder) -> None:
    """
    Raises:
        `TypeError` or `ValueError`: If it is no positive integer, or more than the model embeds.
    """
    integer(least=1)("max_tokens_per_passage", max_tokens)
    if max_tokens > encoder.max_embedded:
        raise ValueError(
            f"max_tokens_per_passage={max_tokens}: the model embeds {encoder.max_embedded} tokens of a passage, so "
            f"the rest would be cut. Give {encoder.max_embedded} or less."
        )


def split_passage(passage: Passage, encoder: PassageEncoder, max_tokens: int) -> list[Passage]:
    """
    A passage as several that each take at most `max_tokens` tokens.

    Each piece has as many sentences as fit. A sentence that is too long by itself is split between words, and a word
    that is too long by itself between characters. Nothing but white space between two pieces is left out. Pieces
    repeat the title and `meta`, and have the ids `ID#0`, `ID#1`, ...

    Args:
        passage ([`Passage`])
        encoder ([`PassageEncoder`])
        max_tokens (`int`): Of a piece as it is embedded.

    Returns:
        `list[Passage]`: The passage itself if it is short enough.

    Raises:
        `ValueError`: If the title leaves no room for text.
    """

    splitter = _Splitter(passage, encoder, max_tokens)
    return [passage] if splitter.fits(passage) else list(splitter.pieces())


class _Splitter:
    """Splits one passage; a piece is a run of spans of its text, usually sentences."""

    def __init__(self, passage: Passage, encoder: PassageEncoder, max_tokens: int) -> None:
        self.passage, self.encoder, self.max_tokens = passage, encoder, max_tokens
        self.text, self.sentences = _sentences(passage)

    def fits(self, passage: Passage) -> bool:
        tokens = self.encoder.embedded_tokens(passage)
        return tokens is not None and tokens <= self.max_tokens

    def piece(self, spans: Sequence[Span], number: int = 0) -> Passage:
        sentences = tuple(self.text[start:end] for start, end in spans) if self.passage.sentences else ()
        text = self.text[spans[0][0] : spans[-1][1]]
        return replace(self.passage, id=f"{self.passage.id}#{number}", text=text, sentences=sentences)

    def pieces(self) -> Iterator[Passage]:
        spans, number = self.sentences, 0
        while spans:
            fitting = self._fitting(spans)
            yield self.piece(fitting, number)
            number += 1
            spans = self._after(fitting, spans)

    def _fitting(self, spans: list[Span]) -> list[Span]:
        """As many spans as fit, or as much of the first one."""
        count = _most(len(spans), lambda count: self.fits(self.piece(spans[:count])))
        if count:
            return spans[:count]
        start, end = spans[0]
        ends = [start + word.end() for word in _WORD.finditer(self.text[start:end])]
        count = _most(len(ends), lambda count: self.fits(self.piece([(start, ends[count - 1])])))
        if count:
            return [(start, ends[count - 1])]
        length = _most(ends[0] - start if ends else 0, lambda count: self.fits(self.piece([(start, start + count)])))
        if not length:
            raise ValueError(
                f"passage {self.passage.id!r}: its title {self.passage.title[:60]!r} leaves no room for text within "
                f"max_tokens_per_passage={self.max_tokens}. Raise it, or shorten the title."
            )
        return [(start, start + length)]

    def _after(self, fitting: list[Span], spans: list[Span]) -> list[Span]:
        """What is left after a piece; of a span that was split, its rest without the white space in front."""
        (_, cut), (_, end), rest = fitting[-1], spans[len(fitting) - 1], spans[len(fitting) :]
        start = end - len(self.text[cut:end].lstrip())
        return [(start, end), *rest] if start < end else rest


def _sentences(passage: Passage) -> tuple[str, list[Span]]:
    """The text of a passage, and where its sentences stand in it."""
    if passage.sentences:
        ends = list(accumulate(len(sentence) + 1 for sentence in passage.sentences))
        spans = [(end - 1 - len(sentence), end - 1) for end, sentence in zip(ends, passage.sentences, strict=True)]
        return " ".join(passage.sentences), spans
    spans = []
    for paragraph in _PARAGRAPH.finditer(passage.text):
        found = split_sentences(paragraph[0])
        starts = [paragraph.start() + sentence.start for sentence in found]
        spans += [(start, start + len(sentence.text)) for start, sentence in zip(starts, found, strict=True)]
    return passage.text, spans


def _most(length: int, fits: Callable[[int], bool]) -> int:
    """
    The largest number from 1 to `length` that fits, if smaller ones do; 0 if none does. Doubling first keeps what is
    tried short where the whole is long.
    """
    if not length or not fits(1):
        return 0
    low, high = 1, 2
    while high <= length and fits(high):
        low, high = high, 2 * high
    high = min(high, length + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def pieces_of(ids: Sequence[str], identifiers: Sequence[str]) -> Iterator[str]:
    """
    Those ids that stand for a whole passage or for a piece of it.

    Args:
        ids (`Sequence[str]`): Of passages in an index.
        identifiers (`Sequence[str]`): Of the passages before splitting.
    """
    wholes = set(identifiers)
    for identifier in ids:
        whole, separator, number = identifier.rpartition("#")
        if identifier in wholes or (separator and number.isdigit() and whole in wholes):
            yield identifier
