"""`LinkedTitlesConverter`: passages of an encyclopedia become examples of entity linking, without labels by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from data_builders.columns import as_text, find_value, required_value
from data_builders.converter import Converter
from data_builders.documents import Document, DocumentStore
from data_builders.entity_linking.annotation import DEFAULT_CONTINUE_TOKEN, DEFAULT_LINK_TOKEN, annotate
from data_builders.entity_linking.catalogue import EntityNames
from data_builders.entity_linking.kinds import PROPER_NAMES, check_kinds, instruction_for
from data_builders.errors import Dropped
from data_builders.linked_titles.mentions import Marked, mark_titles
from data_builders.linked_titles.titles import TitleTable, clean_text, clean_title
from data_builders.linked_titles.words import Spelling
from data_builders.records import Located


@dataclass
class LinkedTitlesConverter(Converter):
    """
    Entity linking without labels by hand: passages of an encyclopedia name the titles of other passages.

    What is surely a mention is marked, and linked if it is sure to what; see [`mark_titles`]. What may be a mention is
    neither marked nor taught not to be one: no token of it has a loss (`<unlabelled>`). The report counts mentions by
    the way in which they were recognised. The corpus is a catalogue of all titles, each described by the first
    sentences of its article.

    Passages that only lend their titles are given as `--passages`; the examples may then be other texts, such as news,
    and need no titles.

    Args:
        query_token (`str`, *optional*, defaults to `"[LK]"`):
            The token after a mention.
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per mention: titles with the same name, then those that share words.
        continue_token (`str`, *optional*, defaults to `"[CON]"`):
            The token after the query token.
        kinds (`str`, *optional*, defaults to `"names"`):
            Which proper names are mentions, separated by commas: `persons`, `places`, `organizations`, `others`. A
            name of an unknown kind is uncertain unless all are asked for.
        min_linked (`int`, *optional*, defaults to 1):
            Leave out passages with fewer linked mentions.
    """

    query_token: str = DEFAULT_LINK_TOKEN
    continue_token: str = DEFAULT_CONTINUE_TOKEN
    kinds: str = "names"
    min_linked: int = 1
    _passages: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _names: EntityNames = field(default_factory=EntityNames, init=False, repr=False, compare=False)
    _spelling: Spelling = field(default_factory=Spelling, init=False, repr=False, compare=False)
    _table: TitleTable | None = field(default=None, init=False, repr=False, compare=False)

    name: ClassVar[str] = "linked-titles"
    title: ClassVar[str] = "Linked titles"
    counted_meta: ClassVar[tuple[str, ...]] = ("mention_counts",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(check_kinds(self.kinds)) <= set(PROPER_NAMES):
            raise ValueError(f"`kinds` must be proper names only ({', '.join(PROPER_NAMES)}), got {self.kinds!r}.")

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Learn the title and the spelling of a passage."""
        title, text = _read(record)
        self._spelling.add(text)
        if title:
            self._passages.setdefault(title, []).append(text)

    def add_corpus_record(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Learn the title and the spelling of a passage that becomes no example."""
        required_value(record, "title", None)
        self.add_documents(record, store)

    def prepare(self, rows: Iterable[Located], store: DocumentStore) -> None:
        """Describe all titles, once every passage was seen; the rows themselves need not be read again."""
        if self._table is not None:
            return
        self._table = TitleTable(self._spelling)
        for title, passages in self._passages.items():
            known = self._table.add(title, passages)
            store.put(Document(_document_id(title), title, known.description or (known.name,)))
            self._names.add(_document_id(title), [known.name])
        self._passages.clear()

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """
        Mark the names of one passage.

        Raises:
            `Dropped`: If it has too few linked mentions (`few_mentions`).
        """
        assert self._table is not None
        title, text = _read(record)
        marked = self._of_kinds(mark_titles(text, title, self._table), text)
        linked = [mention for mention in marked.mentions if mention.title is not None]
        if len(linked) < self.min_linked:
            raise Dropped("few_mentions")
        spans = [(mention.start, mention.end) for mention in marked.mentions]
        ids = [None if mention.title is None else _document_id(mention.title) for mention in marked.mentions]
        prompt = f"{instruction_for(self.kinds)}\n\n{text}"
        content = annotate(text, spans, self.query_token, self.continue_token, marked.uncertain)
        return {
            "id": default_id if record.get("id") is None else str(record["id"]),
            "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": content}],
            "positives": [[] if document_id is None else [document_id] for document_id in ids],
            "negatives": [
                []
                if document_id is None
                else self._names.confusable(
                    document_id, text[slice(*span)], store[document_id].title, self.num_negatives
                )
                for span, document_id in zip(spans, ids, strict=True)
            ],
            "question": prompt,
            "answers": [],
            "meta": json.dumps({"title": title, "mention_counts": marked.counts()}, ensure_ascii=False),
        }

    def _of_kinds(self, marked: Marked, text: str) -> Marked:
        """Without mentions of other kinds; those that may be of one are uncertain."""
        asked = set(check_kinds(self.kinds))
        if asked == set(PROPER_NAMES):
            return marked
        assert self._table is not None
        mentions, uncertain = [], list(marked.uncertain)
        for mention in marked.mentions:
            kind = self._table.titles[mention.title].kind if mention.title is not None else None
            if kind in asked:
                mentions.append(mention)
            elif kind is None:
                uncertain.append((mention.start - (text[mention.start - 1 : mention.start] == " "), mention.end))
        return Marked(mentions, sorted(uncertain))


def _read(record: Mapping[str, Any]) -> tuple[str, str]:
    title = clean_title(as_text(find_value(record, "title", None) or "", "title"))
    return title, clean_text(required_value(record, "text", None), title)


def _document_id(title: str) -> str:
    return title.replace("#", "%23")
