"""Sources to documents and examples, for any converter, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from data_builders.converter import Converter
from data_builders.documents import DocumentStore
from data_builders.errors import Dropped, ErrorPolicy, RecordError
from data_builders.options import check_option
from data_builders.records import Located
from data_builders.report import SplitReport
from data_builders.schema import validate_example
from data_builders.sources import Sources, as_list, resolve


@dataclass
class Engine:
    """
    Runs one converter over its sources, once: [`~Engine.collect_documents`], then [`~Engine.iterate_examples`].

    Args:
        converter (`Converter`):
            The format of the sources. It may keep state, so each engine needs one of its own.
        examples (`Mapping[str, Sources]`):
            The sources of each split, see [`resolve`].
        documents (`Sources`, *optional*):
            The sources of passages that the rows don't carry themselves.
        download_dir (`Path`):
            Where the rows of datasets on the Hub go.
        on_error (`str`, *optional*, defaults to `"raise"`):
            `"raise"`, or `"skip"` to leave malformed rows out and count them by reason.
        limit (`int`, *optional*):
            Read at most this many rows of each split.

    Raises:
        `FileNotFoundError` or `ValueError`: If a source is not there or an option can't be right.
    """

    converter: Converter
    examples: Mapping[str, Sources]
    documents: Sources
    download_dir: Path
    on_error: str = "raise"
    limit: int | None = None
    store: DocumentStore = field(init=False)

    def __post_init__(self) -> None:
        if not self.examples:
            raise ValueError('`examples` is empty; give the sources of at least one split, e.g. {"train": "a.jsonl"}.')
        check_option("limit", self.limit, int, type(None), least=1)
        ErrorPolicy(self.on_error)
        # An option of the converters whose corpora are trained on together.
        self.store = DocumentStore(getattr(self.converter, "id_prefix", ""))
        folder = self.download_dir
        suffixes = self.converter.corpus_suffixes
        self._corpus = [
            path
            for source in as_list(self.documents)
            for path in resolve(source, split="train", download_dir=folder / "documents", suffixes=suffixes)
        ]
        self._files = {
            split: [
                path
                for source in as_list(sources)
                for path in resolve(
                    source,
                    split=split,
                    download_dir=folder / split,
                    limit=self.limit,
                    suffixes=self.converter.example_suffixes,
                )
            ]
            for split, sources in self.examples.items()
        }

    def collect_documents(self) -> SplitReport:
        """
        Fill `store`: from the corpus files, then from the rows themselves.

        Returns:
            `SplitReport`: The records of the corpus files, and those left out.

        Raises:
            `RecordError`: For a malformed record of a corpus file, with file, line and remedy, if `on_error="raise"`.
        """
        report, policy = SplitReport(), ErrorPolicy(self.on_error)
        for path in self._corpus:
            for located in _counted(self.converter.corpus_rows(path, policy), policy, report, f"{path.name}"):
                try:
                    self.converter.add_corpus_record(located.record, self.store)
                except Dropped as dropped:
                    policy.drop(dropped)
                except _FAULTS as error:
                    policy.handle(self._fault(error, located))
        report.dropped = policy.skipped
        if self._corpus and report.rows == report.dropped.total():
            raise ValueError(f"{_names(self._corpus)}: no usable passage; dropped by reason: {dict(policy.skipped)}.")
        for split in self._files:
            # What is wrong with a row is reported, or counted, when it is converted.
            for _, located in self._rows(split, ErrorPolicy(self.on_error), SplitReport(), "passages"):
                try:
                    self.converter.add_documents(located.record, self.store)
                except (Dropped, *_FAULTS):
                    continue
        return report

    def iterate_examples(self, split: str, report: SplitReport) -> Iterator[dict[str, Any]]:
        """
        Convert the rows of a split.

        Args:
            split (`str`):
                The split.
            report (`SplitReport`):
                Counts rows and what is dropped; the caller counts the examples it keeps.

        Returns:
            `Iterator[dict[str, Any]]`: Valid records of the `examples` config.

        Raises:
            `RecordError`: For a malformed row, with file, line and remedy, if `on_error="raise"`.
            `ValueError`: At the end, if not a single row was usable.
        """
        if type(self.converter).prepare is not Converter.prepare:
            rows = (located for _, located in self._rows(split, ErrorPolicy("skip"), SplitReport(), "preparing"))
            self.converter.prepare(rows, self.store)
        policy = ErrorPolicy(self.on_error)
        report.dropped = policy.skipped
        usable = False
        for default_id, located in self._rows(split, policy, report, "examples"):
            try:
                example = self.converter.example(located.record, self.store, default_id)
                self._validate(example)
            except Dropped as dropped:
                policy.drop(dropped)
            except _FAULTS as error:
                policy.handle(self._fault(error, located))
            else:
                usable = True
                yield example
        if not usable:
            reasons = dict(policy.skipped) or "there is none"
            raise ValueError(f"{_names(self._files[split])}: no usable row; dropped by reason: {reasons}.")

    def _rows(
        self, split: str, policy: ErrorPolicy, report: SplitReport, purpose: str
    ) -> Iterator[tuple[str, Located]]:
        left = self.limit
        for path in self._files[split]:
            stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
            for located in _counted(self.converter.rows(path, policy), policy, report, f"{split}: {purpose}"):
                yield f"{stem}-{located.line}", located
                if left is not None and (left := left - 1) == 0:
                    return

    def _validate(self, example: Mapping[str, Any]) -> None:
        try:
            validate_example(example, self.store, self.converter.query_token)
        except ValueError as error:
            raise RecordError("invalid_example", str(error)) from error

    def _fault(self, error: Exception, located: Located) -> RecordError:
        if isinstance(error, RecordError):
            return error.at(located.where)
        return RecordError(
            "malformed_record",
            f"no record of {self.converter.name!r} ({type(error).__name__}: {error}); check the types of its fields.",
            located.where,
        )


# Besides its own errors: what a converter meets in a field of a type that it does not expect.
_FAULTS = (RecordError, AttributeError, IndexError, KeyError, TypeError, ValueError)


def _counted(rows: Iterator[Located], policy: ErrorPolicy, report: SplitReport, description: str) -> Iterator[Located]:
    """Count the rows, those that the reader itself left out too."""
    with tqdm(desc=description, unit=" rows", disable=None) as progress:
        skipped = policy.skipped.total()
        for located in rows:
            report.rows += 1 + policy.skipped.total() - skipped
            progress.update()
            yield located
            skipped = policy.skipped.total()
        report.rows += policy.skipped.total() - skipped


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
