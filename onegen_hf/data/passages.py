"""Passages, and how they become token ids: to be embedded, and to be inserted into a generation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from transformers import PreTrainedTokenizerBase

from data_builders.columns import as_text, check_ids_are_known, find_value, is_missing, sentences_of
from data_builders.errors import RecordError

from ..checks import json_value
from ..configuration import OneGenConfig
from .text_tokenizer import Span, TextTokenizer


@dataclass(frozen=True)
class Passage:
    """
    A retrievable unit of text.

    Args:
        id (`str`): Unique in its corpus.
        title (`str`)
        text (`str`)
        sentences (`tuple[str, ...]`, *optional*): The parts of `text`, where an embedding per sentence is wanted.
        meta (any JSON value, *optional*): Whatever belongs to the passage, such as `{"year": 1954}`. An index keeps it
            and results show it; the model does not read it.

    Raises:
        `TypeError` or `ValueError`: If `meta` is no JSON value.
    """

    id: str
    title: str
    text: str
    sentences: tuple[str, ...] = field(default=(), repr=False)
    meta: Any = field(default=None, repr=False, hash=False)

    def __post_init__(self) -> None:
        if self.meta is not None:
            object.__setattr__(self, "meta", json_value()(f"meta of passage {self.id!r}", self.meta))

    @classmethod
    def from_record(cls, record: Passage | Mapping[str, Any] | str, number: int) -> Passage:
        """
        Read a passage from a `documents` row (`id`, `title`, `sentences`), a `{id, title, text}` mapping or a string.
        Mappings may also have `meta`; a text there that is a JSON list or object is read as such.

        The columns may have any of their usual names (`_id`, `doc_id`, `contents`, ...; see
        `data_builders.columns.NAMES`). Numbers become text, and nulls are missing values.

        Args:
            record (`Passage`, `Mapping` or `str`)
            number (`int`): Position in the corpus; the id of a record without one, and the place that errors name.

        Raises:
            `TypeError`: If the record is something else, or its `meta` is no JSON value.
            `ValueError`: If there is no text under any known name, a column looks like an id under an unknown name, or
                a value is no text.
        """
        if isinstance(record, Passage):
            return record
        if not isinstance(record, (Mapping, str)):
            raise TypeError(
                f"passage {number} is a {type(record).__name__}: {record!r:.60}. Give a mapping with 'id', 'title' "
                "and 'text' or 'sentences', a string, or a Passage"
            )
        identifier = None
        try:
            if isinstance(record, str):
                return cls(str(number), "", as_text(record, "text"))
            identifier, title, text = (find_value(record, what, None) for what in ("id", "title", "text"))
            if identifier is None:
                check_ids_are_known(record)
            sentences = record.get("sentences")
            parts = () if sentences is None else tuple(sentences_of(sentences))
            whole = None if text is None else as_text(text, "text")
            if sentences is not None:
                whole = " ".join(parts)
            heading = "" if title is None else as_text(title, "title")
            name = str(number) if identifier is None else as_text(identifier, "id")
        except RecordError as error:
            raise error.at(f"passage {number} (id {identifier!r})") from None
        if whole is None or not (whole.strip() or heading):
            raise ValueError(
                f"passage {number} (id {identifier!r}) has no text: give it 'text' (str) or 'sentences' (list of "
                f"str); its fields are {sorted(map(str, record))}"
            )
        return cls(name, heading, whole, parts, _meta_of(record))


def _meta_of(record: Mapping[str, Any]) -> Any:
    """`meta` of a record; a cell of a table, which holds text only, may hold a list or an object as JSON."""
    meta = record.get("meta")
    if isinstance(meta, str) and meta.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(meta)
        except ValueError:
            return meta
    return None if is_missing(meta) else meta


@dataclass(frozen=True)
class PassageRow:
    """
    One passage as a row of token ids.

    Args:
        input_ids (`list[int]`)
        positions (`list[int]`): Where the document tokens stand: one, or one per sentence.
        truncated (`bool`): Whether text was cut to the maximal embedded length.
    """

    input_ids: list[int]
    positions: list[int]
    truncated: bool


class PassageEncoder:
    """
    Turns passages into token ids, once for all of training, indexing and generation.

    The text of a passage is always tokenized as plain text: retrieval tokens or template markers in it, planted or
    not, stay words.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Must hold the retrieval tokens.
        config (`OneGenConfig`)
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.ids = config.tokens.ids(tokenizer)
        self.max_inserted = config.max_inserted_tokens
        self.max_embedded = config.embedded_tokens
        self.texts = TextTokenizer.of(tokenizer, config.tokens)
        empty = tokenizer("")["input_ids"]
        self.prefix = [tokenizer.bos_token_id] if empty[:1] == [tokenizer.bos_token_id] else []

    def text_ids(self, text: str) -> list[int]:
        """Ids of plain text, without control tokens."""
        return self.texts.text_ids(text)

    def render(self, passage: Passage) -> str:
        """The passage as text."""
        return self.config.passage_template.format(title=passage.title, text=self._text(passage)).strip()

    def row(self, passage: Passage) -> PassageRow:
        """The passage as it is embedded: text, then the document token (after each sentence if so configured)."""
        if self.config.embedding_template is not None:
            return self._row_of_template(passage, self.config.embedding_template)
        if self.config.granularity == "sentence":
            return self._row_per_sentence(passage)
        return self._row_of_text(self.text_ids(self.render(passage)))

    def rows(self, passages: Sequence[Passage]) -> list[PassageRow]:
        """The rows of many passages; where each has one embedding, they are tokenized together."""
        if self.config.embedding_template is not None or self.config.granularity == "sentence":
            return [self.row(passage) for passage in passages]
        texts = [self.render(passage) for passage in passages]
        return [self._row_of_text(ids) for ids in self.texts.ids_of_texts(texts)]

    def _row_of_text(self, ids: list[int]) -> PassageRow:
        kept = [*self.prefix, *ids[: self.max_embedded], self.ids.document]
        return PassageRow(kept, [len(kept) - 1], len(ids) > self.max_embedded)

    def embedded_tokens(self, passage: Passage) -> int | None:
        """Tokens of a passage's text as it is embedded, without control tokens; `None` if it is cut."""
        row = self.row(passage)
        return None if row.truncated else len(row.input_ids) - len(row.positions) - len(self.prefix)

    def _text(self, passage: Passage) -> str:
        connector = self.config.sentence_connector
        return passage.text if connector is None or not passage.sentences else connector.join(passage.sentences)

    def _row_of_template(self, passage: Passage, template: str) -> PassageRow:
        per_sentence = self.config.granularity == "sentence" and passage.sentences
        sentences = list(passage.sentences) if per_sentence else [self._text(passage)]
        row, positions, used, truncated = [], [], 0, False
        for ids in self._template_pieces(template, passage.title, sentences):
            truncated |= used + len(ids) > self.max_embedded
            row += [*ids[: max(self.max_embedded - used, 0)], self.ids.document]
            used += len(ids)
            positions.append(len(row) - 1)
        return PassageRow(row, positions, truncated)

    def _template_pieces(self, template: str, title: str, sentences: list[str]) -> list[list[int]]:
        """Ids up to the first document token that is not the template's own, and between the others."""
        before, _, after = template.partition("{text}")
        mark = self.config.tokens.document
        # As one text: a tokenizer may read its pieces in another way.
        parts = _filled(before, title)
        marks_before = "".join(part for part, is_text in parts if not is_text).count(mark)
        for number, sentence in enumerate(sentences):
            parts += [(mark, False)] if number else []
            parts += [(sentence, True), *(_filled(after, title) if number == len(sentences) - 1 else ())]
        ids = self.texts.mixed_ids(*_joined(parts))
        marks = [n for n, token in enumerate(ids) if token == self.ids.document]
        cuts = [-1, *marks[marks_before:][: len(sentences) - 1], len(ids)]
        return [ids[start + 1 : end] for start, end in zip(cuts, cuts[1:], strict=False)]

    def _row_per_sentence(self, passage: Passage) -> PassageRow:
        # Split the rendered text at the sentences, so that the template's own text (title) joins the first one.
        sentences = passage.sentences or (passage.text,)
        template = self.config.passage_template
        rendered = template.format(title=passage.title, text=self._text(passage)).rstrip()
        end = len(template.partition("{text}")[0].format(title=passage.title))
        start = len(rendered) - len(rendered.lstrip())
        row, positions, used, truncated = list(self.prefix), [], 0, False
        for number, sentence in enumerate(sentences):
            found = rendered.find(sentence.strip(), min(end, len(rendered)))
            if found < 0:
                raise ValueError(f"passage {passage.id!r}: sentence {number} does not stand in its text: {sentence!r}")
            end = found + len(sentence.strip())
            piece = rendered[start:] if number == len(sentences) - 1 else rendered[start:end]
            start = max(start, end)
            ids = self.text_ids(piece)
            truncated |= used + len(ids) > self.max_embedded
            row += [*ids[: max(self.max_embedded - used, 0)], self.ids.document]
            used += len(ids)
            positions.append(len(row) - 1)
        return PassageRow(row, positions, truncated)

    def paragraph(self, text: str) -> tuple[list[int], bool]:
        """
        Retrieved text as it stands in a generation: `<paragraph>` text `</paragraph>`.

        Returns:
            `tuple[list[int], bool]`: Ids, and whether the text was cut to `max_inserted_tokens`.

        Raises:
            `ValueError`: If the retrieval tokens have no paragraph tags.
        """
        opening, closing = self.ids.paragraph_open, self.ids.paragraph_close
        if opening is None or closing is None:
            raise ValueError(
                "the retrieval tokens have no paragraph tags, so no passage can be inserted: name them in "
                "`RetrievalTokens(paragraph_open=..., paragraph_close=...)`"
            )
        ids = self.text_ids(text)
        return [opening, *ids[: self.max_inserted], closing], len(ids) > self.max_inserted

    def insertion(self, passages: Sequence[Passage]) -> list[int]:
        """
        The ids that follow a query token: the paragraphs of its retrieved passages, best first. An empty result is an
        empty paragraph, because a model never learns what comes right after a query token.
        """
        if not passages:
            return self.paragraph("")[0]
        return [token for passage in passages for token in self.paragraph(self.render(passage))[0]]


def _filled(template: str, title: str) -> list[tuple[str, bool]]:
    """The parts of a template, and whether each is text and not the template's own."""
    parts: list[tuple[str, bool]] = []
    for literal, field_name, _, _ in Formatter().parse(template):
        parts += [(literal, False)] if literal else []
        parts += [(title, True)] if field_name == "title" else []
    return parts


def _joined(parts: Sequence[tuple[str, bool]]) -> tuple[str, list[Span]]:
    """The parts as one text, and where those that are text stand in it."""
    whole, spans = "", []
    for part, is_text in parts:
        if is_text:
            spans.append((len(whole), len(whole) + len(part)))
        whole += part
    return whole, spans
