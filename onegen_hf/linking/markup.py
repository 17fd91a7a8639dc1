"""`MentionMarkup`: annotated text as token ids, tokenized exactly as in training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from data_builders.entity_linking.annotation import MENTION_CLOSE, MENTION_OPEN

from ..configuration import OneGenConfig
from ..data.chat_rendering import render_question
from ..data.passages import PassageEncoder
from ..data.prompts import segment_ids
from ..tokens import token_id
from .word_tokens import tokenizes_words_apart

Span = tuple[int, int]


@dataclass(frozen=True)
class Annotation:
    """
    An annotated text.

    Args:
        ids (`list[int]`)
        query_positions (`list[int]`): Position of each mention's query token in `ids`.
    """

    ids: list[int]
    query_positions: list[int]


class MentionMarkup:
    """
    Text with `<MENTION>...</MENTION>[LK][CON]` as token ids.

    A tag splits the text into pieces that are tokenized separately: `" met Ben"` may be the tokens `" met"` and
    `" Ben"`, but `" met"`, `" "` and `"Ben"` if Ben is marked. The model sees these pieces in training
    ([`RoleEncoder`]), so it must see the same ones here. Names of special tokens within a text are tokenized as words.
    If tags are text (`OneGenConfig.mention_tags`), only the tokens after a mention split the text, and a tag is
    tokenized together with its surroundings.

    `open` and `close` are the ids of the tags, or `None` for tags that are text.

    Args:
        tokenizer (`PreTrainedTokenizerBase`)
        config ([`OneGenConfig`])

    Raises:
        `ValueError`: If the checkpoint has no continuation token, or its tokenizer has no mention tags.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.passages = PassageEncoder(tokenizer, config)
        if self.passages.ids.continuation is None:
            raise ValueError(
                "the checkpoint has no continuation token, which entity linking needs: train it with "
                "`tokens=RetrievalTokens.entity_linking()`"
            )
        self.query, self.continuation = self.passages.ids.query, self.passages.ids.continuation
        self.open, self.close = (self._tag(name) for name in (MENTION_OPEN, MENTION_CLOSE))
        names = sorted({*tokenizer.get_added_vocab(), MENTION_OPEN, MENTION_CLOSE}, key=len, reverse=True)
        self.tokenizes_words_apart = tokenizes_words_apart(tokenizer)
        self._reserved = re.compile("|".join(map(re.escape, names)))

    def _tag(self, name: str) -> int | None:
        ids = self.tokenizer(name, add_special_tokens=False)["input_ids"]
        number = token_id(self.tokenizer, name)
        if number is None or ids[-1:] != [number]:
            if self.config.mention_tags == "text":
                return None
            raise ValueError(
                f"the tokenizer has no token {name!r}, which marks mentions: train the model with "
                "`tokens=RetrievalTokens.entity_linking()`, or add it to `RetrievalTokens(generation=...)`"
            )
        return number

    def reserves(self, text: str) -> bool:
        """Whether `text` contains the name of a special token."""
        return self._reserved.search(text) is not None

    def prompt(self, text: str, instruction: str) -> list[int]:
        """
        Ids of everything before the assistant's turn.

        Args:
            text (`str`): The text to link.
            instruction (`str`): Precedes the text, separated by an empty line. May be empty.
        """
        question = f"{instruction}\n\n{text}" if instruction else text
        return segment_ids(self.tokenizer, self.config, render_question(question, self.tokenizer, self.config))

    def text_pieces(self, pieces: Sequence[str], plain: bool) -> list[list[int]]:
        """
        Ids of text outside mentions, each piece tokenized as at the start of the turn or after a mention.

        Args:
            pieces (`Sequence[str]`)
            plain (`bool`): Whether the whole text contains no reserved name (see [`reserves`]); the same for all
                pieces of a text.
        """
        return self.encode(pieces) if plain else [self.passages.text_ids(piece) for piece in pieces]

    def opened_pieces(self, pieces: Sequence[str], plain: bool) -> list[list[int]]:
        """Ids of text outside mentions, with the following opening tag; arguments as for [`text_pieces`]."""
        if self.open is not None:
            return [[*ids, self.open] for ids in self.text_pieces(pieces, plain)]
        if not plain:
            return [[*self.passages.text_ids(piece), *self._after("a", [MENTION_OPEN])[0]] for piece in pieces]
        return self.encode([f"{piece}{MENTION_OPEN}" for piece in pieces])

    def closed_pieces(self, pieces: Sequence[str], plain: bool) -> list[list[int]]:
        """Ids of mentions, each tokenized as after an opening tag, with the closing tag."""
        closing = [self.close] if self.close is not None else self._after("a", [MENTION_CLOSE])[0]
        if not plain:
            return [[*self.passages.text_ids(piece), *closing] for piece in pieces]
        if self.close is None:
            return self._after(MENTION_OPEN, [f"{piece}{MENTION_CLOSE}" for piece in pieces])
        # Some tokenizers add a space before the first word of a text; a word after a tag must not get one.
        return [[*ids, *closing] for ids in self._after(f".{MENTION_OPEN}", pieces)]

    def _after(self, left: str, pieces: Sequence[str]) -> list[list[int]]:
        """Ids of pieces tokenized after `left`, or separately if a token spans the boundary."""
        before, *encoded = self.encode([left, *(f"{left}{piece}" for piece in pieces)])
        return [
            ids[len(before) :] if ids[: len(before)] == before else self.encode([piece])[0]
            for ids, piece in zip(encoded, pieces, strict=True)
        ]

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of a piece; inverse of [`text_pieces`]."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)) if ids else ""

    def annotate(self, text: str, spans: Sequence[Span]) -> Annotation:
        """
        Annotate a text with known mentions.

        Args:
            text (`str`)
            spans (`Sequence[tuple[int, int]]`): Ascending, each nonempty, without overlaps.
        """
        plain = not self.reserves(text)
        edges = [0, *(end for _, end in spans)]
        starts = [*(start for start, _ in spans), len(text)]
        *before, last = [text[a:b] for a, b in zip(edges, starts, strict=True)]
        mentions = self.closed_pieces([text[start:end] for start, end in spans], plain)
        ids, positions = list[int](), []
        for opened, closed in zip(self.opened_pieces(before, plain), mentions, strict=True):
            ids += [*opened, *closed, self.query, self.continuation]
            positions.append(len(ids) - 2)
        return Annotation([*ids, *self.text_pieces([last], plain)[0]], positions)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts in which no reserved name stands, see [`reserves`]."""
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
