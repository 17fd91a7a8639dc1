"""`PassagePairsConverter`: training pairs for retrieval out of passages alone, without a question or a label."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar

from data_builders.columns import as_text, find_value, required_value, sentences_of
from data_builders.converter import Converter
from data_builders.documents import Document, DocumentStore, clean_sentences
from data_builders.errors import Dropped, ErrorPolicy, RecordError
from data_builders.passage_pairs.queries import QUERIES
from data_builders.records import DATA_SUFFIXES, TEXT_SUFFIXES, Located, read_records
from data_builders.seeding import seeded_number
from data_builders.single_hop.sentences import split_sentences


@dataclass
class PassagePairsConverter(Converter):
    """
    Turns passages into pairs of a query and its passage. They teach a model what the texts of a field are about before
    there are questions about them: train on them first, then on questions.

    Each passage (`--examples`: texts, or records with a title and a text) becomes one example for each kind of query:

    - `title`: its title, unless another passage has the same one.
    - `sentence`: one of its sentences, the inverse cloze task of ORQA (arXiv 1906.00300).
    - `span`: 5 to 12 neighbouring words, as Contriever crops (arXiv 2112.09118).

    A query that fits two passages is dropped as `ambiguous`, a passage too short for a kind as `too_short`, and one
    that comes twice as `duplicate`. The
    sentence or span still stands in its passage, so a model may learn to match words: mix these pairs with questions,
    or keep to titles where the passages are short.

    Args:
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval; it follows the query at once.
        num_negatives (`int`, *optional*, defaults to 5):
            Unused: passages come without negatives. Mine them with `--negatives bm25`.
        kinds (`str`, *optional*, defaults to `"title,sentence,span"`):
            The kinds of queries, separated by commas.
        min_words (`int`, *optional*, defaults to 5):
            The fewest words of a sentence or span.
        query_seed (`int`, *optional*, defaults to 0):
            Chooses sentences and spans.
        id_prefix (`str`, *optional*, defaults to `""`):
            Stands in front of the ids of all passages, so that several corpora can be trained on together.

    Raises:
        `ValueError`: If `kinds` names an unknown kind or none, or `min_words` is not positive.
    """

    kinds: str = "title,sentence,span"
    min_words: int = 5
    query_seed: int = 0
    id_prefix: str = ""

    name: ClassVar[str] = "passage-pairs"
    title: ClassVar[str] = "Queries cut out of passages, for OneGen"
    counted_meta: ClassVar[tuple[str, ...]] = ("kind",)
    example_suffixes: ClassVar[tuple[str, ...]] = (*TEXT_SUFFIXES, *DATA_SUFFIXES)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kinds = list(dict.fromkeys(kind.strip() for kind in self.kinds.split(",") if kind.strip()))
        if unknown := [kind for kind in self._kinds if kind not in QUERIES]:
            raise ValueError(
                f"`kinds` has {unknown[0]!r}, which is not a kind of query; choose from {', '.join(QUERIES)}."
            )
        if not self._kinds:
            raise ValueError(f"`kinds` is empty; choose from {', '.join(QUERIES)}.")
        if self.min_words < 1:
            raise ValueError(f"`min_words` must be at least 1, got {self.min_words}.")
        # Which passage a query stands for, `None` where there are several.
        self._passages: dict[int, str | None] = {}
        self._made: set[str] = set()

    def rows(self, path: str | PathLike[str], policy: ErrorPolicy) -> Iterator[Located]:
        """Stream the passages of one file, each once for every kind of query."""
        for located in read_records(path, policy):
            for kind in self._kinds:
                yield located._replace(record={"passage": located.record, "kind": kind})

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Put a passage into `store`, see [`~Converter.add_documents`]."""
        passage = record["passage"]
        document = _document(passage)
        if document.id and store.prefixed(document.id) not in store:
            document = store.put(document)
        else:
            document = _stored(passage, store)
        if query := QUERIES[record["kind"]](document, self.min_words, self.query_seed):
            key = _key(query)
            self._passages[key] = document.id if self._passages.get(key, document.id) == document.id else None

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """
        Turn a passage into an example of one kind.

        Raises:
            `RecordError`: If the passage is malformed.
            `Dropped`: If it yields no query of this kind (`too_short`, `no_title`), or one that fits others too
                (`ambiguous`), or was there before (`duplicate`).
        """
        kind, passage = record["kind"], _stored(record["passage"], store)
        query = QUERIES[kind](passage, self.min_words, self.query_seed)
        if query is None:
            raise Dropped("no_title" if kind == "title" else "too_short")
        if self._passages[_key(query)] is None:
            raise Dropped("ambiguous")
        example_id = f"{passage.id}-{kind}"
        if example_id in self._made:
            raise Dropped("duplicate")
        self._made.add(example_id)
        return {
            "id": example_id,
            "messages": [{"role": "user", "content": query}, {"role": "assistant", "content": self.query_token}],
            "positives": [[passage.id]],
            "negatives": [[]],
            "question": query,
            "answers": [],
            "meta": json.dumps({"kind": kind}, sort_keys=True),
        }


def _document(record: Mapping[str, Any]) -> Document:
    """The passage of a record, under the id of its source, or `""` without one."""
    own_id, title = find_value(record, "id", None), find_value(record, "title", None)
    if record.get("sentences"):
        sentences = sentences_of(record["sentences"])
    else:
        sentences = [span.text for span in split_sentences(required_value(record, "text", None))]
    clean = clean_sentences(sentences)
    if not clean:
        raise RecordError("empty_passage", "the passage has no text; add it or drop the passage.")
    name = "" if own_id is None else as_text(own_id, "id")
    return Document(name, "" if title is None else as_text(title, "title").strip(), clean)


def _stored(record: Mapping[str, Any], store: DocumentStore) -> Document:
    """The passage of a record as `store` holds it."""
    document = _document(record)
    if not document.id:
        return store.add(document.title, document.sentences)
    if (prefixed := store.prefixed(document.id)) not in store or store[prefixed].sentences != document.sentences:
        raise RecordError("duplicate_id", f"the id {document.id!r} was used before; ids must be unique.")
    return store[prefixed]


def _key(query: str) -> int:
    """A number instead of the text, since there may be millions."""
    return seeded_number(" ".join(query.lower().split()))
