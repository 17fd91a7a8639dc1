"""`EntityLinkingConverter`: benchmark articles and an entity catalogue become examples and documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from typing import Any, ClassVar

from data_builders.converter import Converter
from data_builders.documents import Document, DocumentStore
from data_builders.entity_linking.aida import is_aida, read_aida
from data_builders.entity_linking.annotation import DEFAULT_CONTINUE_TOKEN, DEFAULT_LINK_TOKEN, annotate
from data_builders.entity_linking.catalogue import EntityNames, entity_document
from data_builders.entity_linking.kinds import INSTRUCTION as INSTRUCTION
from data_builders.entity_linking.kinds import check_kinds, instruction_for, kinds_of
from data_builders.entity_linking.labels import Label, entity_name, read_labels, unlinkable_reason
from data_builders.entity_linking.selection import is_coreference, select_mentions
from data_builders.errors import Dropped, ErrorPolicy, RecordError
from data_builders.records import Located, read_records
from data_builders.schema import validate_example

_UNLINKABLE = ("leave_out", "empty")


@dataclass
class EntityLinkingConverter(Converter):
    """
    Entity linking as one generation (OneGen, arXiv 2409.05152, section 3): the assistant repeats the text and marks
    every mention as `<MENTION>...</MENTION>[LK][CON]`. The hidden state at `[LK]` finds the entity.

    Reads ELEVANT's JSON lines, in all their versions, and AIDA-CoNLL's table, told apart by the file's content. Which
    labels become mentions, and for which reason the others don't, says [`select_mentions`]; an example's `meta` holds
    every label with its reason, and the number of labels by reason. Spans count Unicode code points.

    The corpus is an entity catalogue, read by [`entity_document`]. A mention whose id is not in it is looked up by the
    entity's other ids and, in AIDA's table, by its name if exactly one entity has it. Without a catalogue the entities
    become documents by the names in the labels.

    Args:
        query_token (`str`, *optional*, defaults to `"[LK]"`):
            The token after a mention.
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per mention: entities of the same name or alias, then those that share words.
        continue_token (`str`, *optional*, defaults to `"[CON]"`):
            The token after the query token; the paper's published models have `[_CONTINUE_]`.
        instruction (`str`, *optional*):
            Stands before the text in the user's message, with an empty line between. Empty: the text alone.
        kinds (`str`, *optional*):
            Annotate labels of these kinds only, and say so in the instruction: some of [`KINDS`], separated by commas,
            such as `"names"` or `"persons,places"`. By default all labels, and the instruction names no kind.
        unlinkable (`str`, *optional*, defaults to `"leave_out"`):
            What becomes of mentions of entities without a document (NIL, dates, quantities, ids that are not in the
            catalogue): `"leave_out"`, or `"empty"` to mark them with an empty list of positives, so that they train
            detection only.
        keep_coreferences (`bool`, *optional*, defaults to `False`):
            Annotate pronouns and other coreferences too.
        crop (`bool`, *optional*, defaults to `False`):
            Cut the text to the evaluation span. Recommended for training where the span is a part of the text: the
            rest of it is not labelled and would teach to overlook mentions.
        split (`str`, *optional*):
            Take only the articles of this split of AIDA's table: `"train"`, `"testa"` or `"testb"`.
        include_types (`bool`, *optional*, defaults to `True`):
            Say an entity's types in its document.
        include_aliases (`bool`, *optional*, defaults to `False`):
            Say its aliases too.

    Raises:
        `ValueError`: If `unlinkable` has another value, or `num_negatives` is negative.
    """

    query_token: str = DEFAULT_LINK_TOKEN
    continue_token: str = DEFAULT_CONTINUE_TOKEN
    instruction: str = INSTRUCTION
    kinds: str | None = None
    unlinkable: str = "leave_out"
    keep_coreferences: bool = False
    crop: bool = False
    split: str | None = None
    include_types: bool = True
    include_aliases: bool = False
    _names: EntityNames = field(default_factory=EntityNames, init=False, repr=False, compare=False)
    _has_catalogue: bool = field(default=False, init=False, repr=False, compare=False)

    name: ClassVar[str] = "entity-linking"
    title: ClassVar[str] = "Entity linking"
    counted_meta: ClassVar[tuple[str, ...]] = ("label_counts", "split")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unlinkable not in _UNLINKABLE:
            raise ValueError(f"`unlinkable` must be one of {_UNLINKABLE}, got {self.unlinkable!r}.")
        if self.num_negatives < 0:
            raise ValueError(f"`num_negatives` must not be negative, got {self.num_negatives}.")
        if self.kinds is not None:
            chosen = check_kinds(self.kinds)
            self.keep_coreferences |= "coreferences" in chosen
            if self.instruction == INSTRUCTION:
                self.instruction = instruction_for(chosen)

    def rows(self, path: str | PathLike[str], policy: ErrorPolicy) -> Iterator[Located]:
        """Stream the articles of one file, a row each."""
        return read_aida(path, policy) if is_aida(path) else read_records(path, policy)

    def add_corpus_record(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Put one entity of the catalogue into `store`; see [`entity_document`]."""
        document, names = entity_document(
            record, include_types=self.include_types, include_aliases=self.include_aliases
        )
        store.put(document)
        self._names.add(document.id, names)
        self._has_catalogue = True

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """
        Without a catalogue, make a document of every linkable entity of a row; the first name that an id has counts.

        Raises:
            `RecordError`: If the row is malformed.
        """
        if self._has_catalogue or self._is_other_split(record):
            return
        text = _text(record)
        for label in read_labels(record):
            if unlinkable_reason(label) is None and 0 <= label.start < label.end <= len(text):
                name = entity_name(label, text)
                if label.entity_id not in store:
                    store.put(Document(label.entity_id, name, (name,)))
                # A pronoun is no name that entities could be confused by.
                aliases = [] if is_coreference(label, text) else [text[label.start : label.end]]
                self._names.add(label.entity_id, [name, *aliases])

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """
        Turn one article into one example.

        Raises:
            `RecordError`: If a field is missing or malformed, or the text holds a mark of the format.
            `Dropped`: If the text is empty (`empty_text`) or the article belongs to another split (`other_split`).
        """
        if self._is_other_split(record):
            raise Dropped("other_split")
        whole, labels = _text(record), read_labels(record)
        begin, end = _evaluation_span(record, len(whole))
        text, offset = (whole[begin:end], begin) if self.crop else (whole, 0)
        if not text.strip():
            raise Dropped("empty_text")
        mentions, left_out = select_mentions(
            labels,
            whole,
            evaluation_span=(begin, end),
            resolve=lambda label: self._resolve(label, store),
            keep_coreferences=self.keep_coreferences,
            keep_unlinkable=self.unlinkable == "empty",
            asked_for=None if self.kinds is None else partial(self._asked_for, whole),
        )
        labels = [label._replace(start=label.start - offset, end=label.end - offset) for label in labels]
        spans = [(mention.label.start - offset, mention.label.end - offset) for mention in mentions]
        unlabelled = _uncertain_spans(labels, left_out, text, spans)
        content = annotate(text, spans, self.query_token, self.continue_token, unlabelled)
        linked = {mention.label.number: mention.document_id for mention in mentions}
        prompt = f"{self.instruction}\n\n{text}" if self.instruction else text
        record_id = record.get("id")
        example = {
            "id": default_id if record_id is None else str(record_id),
            "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": content}],
            "positives": [[] if document_id is None else [document_id] for document_id in linked.values()],
            "negatives": [
                self._negatives(text[slice(*span)], document_id, store)
                for span, document_id in zip(spans, linked.values(), strict=True)
            ],
            "question": prompt,
            "answers": [],
            "meta": self._meta(record, text, (begin - offset, end - offset), labels, linked, left_out),
        }
        try:
            validate_example(example, store, self.query_token)
        except ValueError as error:
            raise RecordError("invalid_example", str(error)) from error
        return example

    def _asked_for(self, text: str, label: Label) -> bool | None:
        """Whether a label is of a kind to annotate; `None` if it may be."""
        kinds, asked = kinds_of(label, text), set(check_kinds(self.kinds or "all"))
        if unlinkable_reason(label) is None or kinds <= asked or not kinds & asked:
            return bool(kinds & asked)
        return None

    def _is_other_split(self, record: Mapping[str, Any]) -> bool:
        return self.split is not None and record.get("split") != self.split

    def _resolve(self, label: Label, store: DocumentStore) -> str | None:
        for entity_id in (label.entity_id, *label.other_ids):
            if entity_id in store:
                return entity_id
        # Only what names Wikipedia's pages has other ids: an unknown id of the catalogue's own kind is no name.
        called = self._names.called(label.name) if label.other_ids else []
        return called[0] if len(called) == 1 else None

    def _negatives(self, mention: str, document_id: str | None, store: DocumentStore) -> list[str]:
        if document_id is None:
            return []
        found = self._names.confusable(document_id, mention, store[document_id].title, self.num_negatives)
        return [other for other in found if other in store]

    def _meta(
        self,
        record: Mapping[str, Any],
        text: str,
        evaluation_span: tuple[int, int],
        labels: list[Label],
        linked: Mapping[int, str | None],
        left_out: Mapping[int, str],
    ) -> str:
        gold = []
        for label in labels:
            shown = label.as_gold(text)
            shown["linked_to" if label.number in linked else "left_out"] = (
                linked[label.number] if label.number in linked else left_out[label.number]
            )
            gold.append(shown)
        meta = {
            **{field: record[field] for field in ("title", "split") if isinstance(record.get(field), str)},
            "evaluation_span": list(evaluation_span),
            "labels": gold,
            "label_counts": {"mention": len(linked), **Counter(left_out.values())},
        }
        return json.dumps(meta, ensure_ascii=False, sort_keys=True)


def _text(record: Mapping[str, Any]) -> str:
    text = record.get("text")
    if not isinstance(text, str):
        reason = "missing_field" if text is None else "malformed_field"
        raise RecordError(reason, f"the field `text` must be text, got {text!r:.40}.")
    return text


def _uncertain_spans(
    labels: list[Label], left_out: Mapping[int, str], text: str, spans: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Where labels stand that may be of a kind to annotate, with the space before, in which a mention would open."""
    uncertain: list[tuple[int, int]] = []
    for label in sorted(labels, key=lambda label: (label.start, -label.end)):
        start = label.start - (text[label.start - 1 : label.start] == " ")
        if left_out.get(label.number) == "uncertain_kind" and all(
            end <= start or label.end <= begin for begin, end in (*spans, *uncertain)
        ):
            uncertain.append((start, label.end))
    return uncertain


def _evaluation_span(record: Mapping[str, Any], length: int) -> tuple[int, int]:
    span = record.get("evaluation_span")
    if span is None:
        return 0, length
    if not isinstance(span, (list, tuple)) or [type(value) for value in span] != [int, int] or span[0] < 0:
        raise RecordError("malformed_field", f"`evaluation_span` must be [start, end], got {span!r}.")
    # Files cut from longer texts keep spans that end later.
    return min(span[0], length), max(min(span[1], length), min(span[0], length))
