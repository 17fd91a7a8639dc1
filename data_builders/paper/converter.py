"""`PaperConverter`: the authors' `db.jsonl` and `train.jsonl` as documents and examples."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from data_builders.converter import Converter
from data_builders.documents import Document, DocumentStore
from data_builders.errors import RecordError
from data_builders.paper.db_records import (
    DEFAULT_TITLE_TEMPLATE,
    DOCUMENT_TOKENS,
    Layout,
    check_messages,
    read_document,
)
from data_builders.paper.difference import restore
from data_builders.paper.references import from_paper, known_from_paper
from data_builders.paper.train_records import QUERY_TOKENS, lists_of, read_example
from data_builders.schema import validate_example

logger = logging.getLogger(__name__)

_UNKNOWN = ("error", "leave_out")


@dataclass
class PaperConverter(Converter):
    """
    The published training data of OneGen (arXiv 2409.05152): `train.jsonl` is the source, `db.jsonl` the corpus.

    Nothing is lost: what our schema has no column for (further fields, numbers as ids, references to documents that
    the corpus lacks, layouts of another version) is in an example's `meta` under `paper`, and [`to_paper_files`]
    writes both files again. What is uncommon about single documents stands in the first example.

    Args:
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval. If it doesn't fit the first example with positives, but `[LK]` or
            `[Question Representation]` does, that one is taken and logged.
        num_negatives (`int`, *optional*, defaults to 1000):
            The most negatives per query token, in the order of the file; by default, in effect, all of them.
        rename_tokens (`list[str]`, *optional*):
            New names for tokens in the assistant's messages, each as `old=new`, such as
            `"[Question Representation]=[RQ]"` or `"[_CONTINUE_]=[CON]"`. By default they keep their names.
        title_template (`str`, *optional*, defaults to `"wiki title: {title}\\ncontent: {text}"`):
            Where the first sentence of a document has this form, its title becomes the document's. Empty: it stays
            in the text.
        document_token (`str`, *optional*):
            The token that ends a sentence where a document isn't laid out as one message per sentence. By default
            `[RD]`, `[SE]` or `[Document Fragment Representation]`, whichever occurs.
        unknown_references (`str`, *optional*, defaults to `"error"`):
            What to do with ids of documents or sentences that the corpus lacks: `"error"`, or `"leave_out"` as the
            authors' training does. They are in the `meta` all the same.

    Raises:
        `ValueError`: If an option has a value that it can't have.
    """

    num_negatives: int = 1000
    rename_tokens: list[str] = field(default_factory=list)
    title_template: str = DEFAULT_TITLE_TEMPLATE
    document_token: str | None = None
    unknown_references: str = "error"
    _renamed: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _common_layout: Layout | None = field(default=None, init=False, repr=False, compare=False)
    _odd_layouts: dict[str, Layout] = field(default_factory=dict, init=False, repr=False, compare=False)
    _token_known: bool = field(default=False, init=False, repr=False, compare=False)

    name: ClassVar[str] = "paper"
    title: ClassVar[str] = "OneGen's published training data"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unknown_references not in _UNKNOWN:
            raise ValueError(f"`unknown_references` must be one of {_UNKNOWN}, got {self.unknown_references!r}.")
        if self.num_negatives < 0:
            raise ValueError(f"`num_negatives` must not be negative, got {self.num_negatives}.")
        if self.title_template and not 0 <= self.title_template.find("{title}") < self.title_template.find("{text}"):
            raise ValueError(
                f"`title_template` must hold {{title}} and then {{text}}, got {self.title_template!r}; pass an empty "
                "text to leave titles where they are."
            )
        for pair in self.rename_tokens:
            old, _, new = pair.partition("=")
            if not old or not new:
                raise ValueError(f'`rename_tokens` must hold pairs "old=new", got {pair!r}.')
            self._renamed[old] = new

    def add_corpus_record(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Put one record of `db.jsonl` into `store`; see [`read_document`]."""
        tokens = DOCUMENT_TOKENS if self.document_token is None else (self.document_token,)
        plain = {key: value for key, value in record.items() if key != "onegen"}
        document, layout = read_document(plain, title_template=self.title_template, document_tokens=tokens)
        if "onegen" in record:
            own = restore(document.as_record(), record["onegen"])
            document = Document(own["id"], own["title"], tuple(own["sentences"]))
        store.put(document)
        if self._common_layout is None:
            self._common_layout = layout
        elif layout != self._common_layout:
            self._odd_layouts[document.id] = layout

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """
        Turn one record of `train.jsonl` into one example.

        Raises:
            `RecordError`: If a field is missing or malformed, the query tokens don't match `positive` and `negative`,
                or an id is unknown.
        """
        plain = {key: value for key, value in record.items() if key != "onegen"}
        self._find_query_token(plain)
        example, layout = read_example(
            plain,
            store,
            query_token=self.query_token,
            convert=partial(
                known_from_paper if self.unknown_references == "leave_out" or "onegen" in record else from_paper,
                documents=store,
            ),
            renamed=self._renamed,
            num_negatives=self.num_negatives,
            default_id=default_id,
        )
        layout["documents"] = self._common_layout or {}
        example["meta"] = json.dumps({"paper": layout}, ensure_ascii=False, sort_keys=True)
        if "onegen" in record:
            example = restore(example, record["onegen"])
        try:
            validate_example(example, store, self.query_token)
        except ValueError as error:
            raise RecordError("invalid_example", str(error)) from error
        if self._odd_layouts and "onegen" not in record:
            layout["odd_documents"], self._odd_layouts = self._odd_layouts, {}
            example["meta"] = json.dumps({"paper": layout}, ensure_ascii=False, sort_keys=True)
        return example

    def _find_query_token(self, record: Mapping[str, Any]) -> None:
        messages = check_messages(record.get("messages"), str(record.get("uid")))
        number = len(lists_of(record, "positive") or [])
        if self._token_known or not number:
            return
        content = "".join(message["content"] for message in messages if message["role"] == "assistant")
        for old, new in self._renamed.items():
            content = content.replace(old, new)
        fitting = [token for token in (self.query_token, *QUERY_TOKENS) if content.count(token) == number]
        if fitting:
            if fitting[0] != self.query_token:
                logger.info("the query token is %s, not %s", fitting[0], self.query_token)
            self.query_token, self._token_known = fitting[0], True
