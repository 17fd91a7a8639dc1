"""`Converter`: what one source format must be able to do, so that one engine can build every corpus."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar

from data_builders.documents import DocumentStore
from data_builders.errors import ErrorPolicy
from data_builders.options import check_options
from data_builders.records import DATA_SUFFIXES, Located, read_records
from data_builders.schema import DEFAULT_QUERY_TOKEN


@dataclass
class Converter(ABC):
    """
    One source format. The engine reads the sources twice: the first time [`~Converter.add_documents`] sees every
    record, the second time [`~Converter.example`] does, and can then refer to any document.

    Subclasses are dataclasses; their fields are the options of `onegen-hf build NAME` and of the `datasets` builder.

    Args:
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per query token that the record itself offers.
    """

    query_token: str = DEFAULT_QUERY_TOKEN
    num_negatives: int = 5

    name: ClassVar[str]
    """As `onegen-hf build` calls it."""
    title: ClassVar[str]
    """Heading of the corpus's README."""
    counted_meta: ClassVar[tuple[str, ...]] = ()
    """Fields of an example's `meta` whose values the report counts."""
    path_options: ClassVar[tuple[str, ...]] = ()
    """Options that name a file; the report shows its name only, since paths of a machine are not published."""
    corpus_suffixes: ClassVar[tuple[str, ...]] = DATA_SUFFIXES
    """Endings of the files that count when `--passages` names a folder."""
    example_suffixes: ClassVar[tuple[str, ...]] = DATA_SUFFIXES
    """Endings of the files that count when `--examples` names one."""

    def __post_init__(self) -> None:
        check_options(self)

    def rows(self, path: str | PathLike[str], policy: ErrorPolicy) -> Iterator[Located]:
        """
        Stream the rows of one file; by default JSON lines or a JSON array of objects.

        A row is what becomes one example: a format that nests several (SQuAD's articles) is flattened here, so that
        rows in = examples out + rows dropped, by reason.
        """
        return read_records(path, policy)

    def corpus_rows(self, path: str | PathLike[str], policy: ErrorPolicy) -> Iterator[Located]:
        """Stream the records of one corpus file; by default as [`read_records`] does."""
        return read_records(path, policy)

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:  # noqa: B027 (optional)
        """
        Put the passages that a row carries itself into `store`; by default it carries none.

        Raises:
            `RecordError`: If they are malformed. The engine leaves that to [`~Converter.example`].
        """

    def add_corpus_record(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """
        Put one record of a corpus file (`--passages`) into `store`; by default `id`, `title`, `sentences` or `text`.

        Raises:
            `RecordError`: If it is malformed.
        """
        store.add_record(record)

    def prepare(self, rows: Iterable[Located], store: DocumentStore) -> None:  # noqa: B027 (optional)
        """
        See all rows of a split before the first one is converted, for work that is better done for many at a time; by
        default there is none.
        """

    @abstractmethod
    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """
        Turn one row into one record of the `examples` config.

        Args:
            record (`Mapping[str, Any]`):
                The row.
            store (`DocumentStore`):
                All documents.
            default_id (`str`):
                The id of a row that has none.

        Returns:
            `dict[str, Any]`: With the columns of [`EXAMPLES_FEATURES`]; `meta` is JSON.

        Raises:
            `RecordError`: If the row is malformed.
            `Dropped`: If it is well formed, but nothing to train or evaluate on.
        """
