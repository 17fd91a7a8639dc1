"""Passages that are too long to be embedded whole, as several that are not."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, islice
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from data_builders.single_hop.sentences import split_sentences

from ..checks import integer
from .documents import Corpus
from .passages import Passage, PassageEncoder

_WORD = re.compile(r"\S+")
_EMPTY_LINE = re.compile(r"\n[^\S\n]*\n")
_MOST_CHARACTERS_PER_TOKEN = 32
_CHARACTERS_PER_TOKEN = 4
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
        passage = corpus[row]
        parts = split_passage(passage, encoder, max_tokens)
        if parts != [passage]:
            pieces[row] = parts
    counts = {corpus.ids[row]: len(parts) for row, parts in pieces.items() if len(parts) > 1}
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
        `list[Passage]`: The passage itself if it is short enough, without the white space around it if need be.

    Raises:
        `ValueError`: If the title leaves no room for text.
    """
    splitter = _Splitter(passage, encoder, max_tokens)
    if splitter.fits(passage):
        return [passage]
    pieces = list(splitter.pieces())
    if len(pieces) > 1:
        return pieces
    return [replace(pieces[0], id=passage.id) if pieces else passage]  # no piece: nothing but a long title


class _Splitter:
    """Splits one passage; a piece is a run of spans of its text, usually sentences."""

    def __init__(self, passage: Passage, encoder: PassageEncoder, max_tokens: int) -> None:
        self.passage, self.encoder, self.max_tokens = passage, encoder, max_tokens
        self.text, self.sentences = _sentences(passage)
        self.usual_length = _CHARACTERS_PER_TOKEN * max_tokens

    def fits(self, passage: Passage) -> bool:
        tokens = self.encoder.embedded_tokens(passage)
        return tokens is not None and tokens <= self.max_tokens

    def most_that_fit(self, start: int, ends: Sequence[int], spans: list[Span] | None = None) -> int:
        """
        How many of the places where a piece may end leave it short enough.

        Args:
            start (`int`): Where the piece begins.
            ends (`Sequence[int]`): In order.
            spans (`list[tuple[int, int]]`, *optional*): That end there, if the piece consists of several.

        Returns:
            `int`: 0 if none does.
        """

        def fits(count: int) -> bool:
            end = ends[count - 1]
            # A word takes a token at least, and no text has tokens so long on average: spares tokenizing a long rest.
            words = islice(_WORD.finditer(self.text, start, end), self.max_tokens + 1)
            if end - start > _MOST_CHARACTERS_PER_TOKEN * self.max_tokens or sum(1 for _ in words) > self.max_tokens:
                return False
            return self.fits(self.piece([(start, end)] if spans is None else spans[:count]))

        count = _most(len(ends), fits, guess=bisect_right(ends, start + self.usual_length))
        if count:
            self.usual_length = ends[count - 1] - start
        return count

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
        start, end = spans[0]
        count = self.most_that_fit(start, [end for _, end in spans[: self.max_tokens]], spans)
        if count:
            return spans[:count]
        ends = [word.end() for word in islice(_WORD.finditer(self.text, start, end), self.max_tokens)]
        count = self.most_that_fit(start, ends)
        if count:
            return [(start, ends[count - 1])]
        length = self.most_that_fit(start, range(start + 1, ends[0] + 1)) if ends else 0
        if not length:
            raise ValueError(
                f"passage {self.passage.id!r}: its title {self.passage.title[:60]!r} leaves no room for text within "
                f"max_tokens_per_passage={self.max_tokens}. Raise it, or shorten the title."
            )
        return [(start, start + length)]

    def _after(self, fitting: list[Span], spans: list[Span]) -> list[Span]:
        """What is left after a piece; of a span that was split, its rest without the white space in front."""
        (_, cut), (_, end), rest = fitting[-1], spans[len(fitting) - 1], spans[len(fitting) :]
        following = _WORD.search(self.text, cut, end)
        return rest if following is None else [(following.start(), end), *rest]


def _sentences(passage: Passage) -> tuple[str, list[Span]]:
    """The text of a passage, and where its sentences stand in it."""
    if passage.sentences:
        ends = list(accumulate(len(sentence) + 1 for sentence in passage.sentences))
        spans = [(end - 1 - len(sentence), end - 1) for end, sentence in zip(ends, passage.sentences, strict=True)]
        return " ".join(passage.sentences), spans
    spans = []
    start = 0
    for line_break in [*_EMPTY_LINE.finditer(passage.text), None]:
        end = len(passage.text) if line_break is None else line_break.start()
        for sentence in split_sentences(passage.text[start:end]):
            spans.append((start + sentence.start, start + sentence.start + len(sentence.text)))
        start = end
    return passage.text, spans


def _most(length: int, fits: Callable[[int], bool], guess: int) -> int:
    """The largest number up to `length` that fits, if smaller ones do; 0 if none does. Searches around a guess."""
    low, high = 0, length + 1  # fits, fits not
    tried, step = min(max(guess, 1), length), 1
    while low < tried < high:
        if fits(tried):
            low, tried = tried, tried + step
        else:
            high, tried = tried, tried - step
        step *= 2
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
