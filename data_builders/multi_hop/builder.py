"""
Multi-hop questions (HotpotQA, 2WikiMultihopQA, wiki2hop) to the configs `documents` and `examples`.

```
python -m data_builders.multi_hop.builder --examples train=train.jsonl dev=dev.jsonl --corpus corpus.jsonl --out DIR
```
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset

from data_builders.documents import DocumentStore
from data_builders.errors import ErrorPolicy, RecordError
from data_builders.multi_hop.conversion import add_context, record_to_example
from data_builders.parquet_export import write_repository
from data_builders.records import read_records
from data_builders.sampling import balanced_sample
from data_builders.schema import DEFAULT_QUERY_TOKEN, DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.title_neighbours import TitleNeighbours

StrPath = str | PathLike[str]
logger = logging.getLogger(__name__)


def collect_documents(
    example_paths: Sequence[StrPath], corpus_path: StrPath | None = None, policy: ErrorPolicy | None = None
) -> DocumentStore:
    """
    Gather the passages: of the corpus file if there is one, and of the contexts that carry text.

    All files have to be given, in a fixed order, because the id of a passage without one depends on what came before.

    Args:
        example_paths (`Sequence[str | PathLike]`):
            The files with questions.
        corpus_path (`str` or `PathLike`, *optional*):
            The file with passages. When given, contexts are looked up in it and add nothing.
        policy (`ErrorPolicy`, *optional*):
            What to do with a malformed corpus record. Malformed questions are left to [`iterate_examples`].

    Returns:
        `DocumentStore`: The passages.
    """
    if corpus_path is not None:
        return DocumentStore.from_corpus(corpus_path, policy)
    store = DocumentStore()
    for path in example_paths:
        for located in read_records(path, ErrorPolicy("skip")):
            try:
                add_context(located.record, store)
            except RecordError:
                continue
    return store


def iterate_examples(
    path: StrPath,
    store: DocumentStore,
    *,
    num_negatives: int = 5,
    query_token: str = DEFAULT_QUERY_TOKEN,
    policy: ErrorPolicy | None = None,
    neighbours: TitleNeighbours | None = None,
) -> Iterator[dict[str, Any]]:
    """
    Stream the examples of one file.

    Args:
        path (`str` or `PathLike`):
            The file with questions.
        store (`DocumentStore`):
            The passages, see [`collect_documents`].
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per hop.
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        policy (`ErrorPolicy`, *optional*):
            What to do with malformed records; by default they raise.
        neighbours (`TitleNeighbours`, *optional*):
            Adds hard negatives with similar titles.

    Returns:
        `Iterator[dict[str, Any]]`: Records of the `examples` config.

    Raises:
        `ValueError`: For a malformed record, with file, line and remedy.
    """
    policy = policy or ErrorPolicy()
    for located in read_records(path, policy):
        default_id = f"{Path(path).stem}-{located.line}"
        try:
            yield record_to_example(
                located.record,
                store,
                num_negatives=num_negatives,
                query_token=query_token,
                default_id=default_id,
                neighbours=neighbours,
            )
        except RecordError as error:
            policy.handle(error.at(located.where))


def build_splits(
    examples: Mapping[str, StrPath],
    corpus_path: StrPath | None = None,
    *,
    num_negatives: int = 5,
    query_token: str = DEFAULT_QUERY_TOKEN,
    on_error: str = "raise",
    num_title_negatives: int = 0,
    balanced_sizes: Mapping[str, int] | None = None,
) -> tuple[Dataset, dict[str, Dataset], dict[str, dict[str, int]]]:
    """
    Build several splits over one set of documents, in memory.

    Args:
        examples (`Mapping[str, str | PathLike]`):
            The file with questions of each split.
        corpus_path (`str` or `PathLike`, *optional*):
            The file with passages; needed when the records have `context_titles` only.
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per hop.
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        on_error (`str`, *optional*, defaults to `"raise"`):
            `"raise"`, or `"skip"` to leave malformed records out and count them by reason.
        num_title_negatives (`int`, *optional*, defaults to 0):
            Further hard negatives per hop: the passages with the most similar titles.
        balanced_sizes (`Mapping[str, int]`, *optional*):
            Split → how many of its examples to draw, rare templates more than their share; see [`balanced_sample`].

    Returns:
        `tuple[Dataset, dict[str, Dataset], dict[str, dict[str, int]]]`: The documents, the examples of each split and
        a report of counts for `documents` and each split.

    Raises:
        `ValueError`: For a malformed record, with file, line and remedy, if `on_error="raise"`.
    """
    policy = ErrorPolicy(on_error)
    store = collect_documents(list(examples.values()), corpus_path, policy)
    documents = Dataset.from_list([document.as_record() for document in store], features=DOCUMENTS_FEATURES)
    report = {"documents": {"documents": len(store), **_skip_counts(policy)}}
    neighbours = TitleNeighbours(store, num_title_negatives) if num_title_negatives else None
    tables = {}
    for split, path in examples.items():
        policy = ErrorPolicy(on_error)
        rows = list(
            iterate_examples(
                path,
                store,
                num_negatives=num_negatives,
                query_token=query_token,
                policy=policy,
                neighbours=neighbours,
            )
        )
        if balanced_sizes and split in balanced_sizes:
            rows = balanced_sample(rows, balanced_sizes[split])
        tables[split] = Dataset.from_list(rows, features=EXAMPLES_FEATURES)
        report[split] = {**count_examples(rows), **_skip_counts(policy)}
    return documents, tables, report


def build_multi_hop(
    examples_path: StrPath, corpus_path: StrPath | None = None, **options: Any
) -> tuple[Dataset, Dataset, dict[str, int]]:
    """
    Build documents and examples from one file with questions.

    Args:
        examples_path (`str` or `PathLike`):
            JSON lines or a JSON array of HotpotQA-style records.
        corpus_path (`str` or `PathLike`, *optional*):
            The file with passages.
        options:
            As in [`build_splits`].

    Returns:
        `tuple[Dataset, Dataset, dict[str, int]]`: The documents, the examples and a report of counts.

    Examples:

    ```python
    documents, examples, report = build_multi_hop("train.jsonl", "corpus.jsonl", num_negatives=3)
    ```
    """
    documents, tables, report = build_splits({"train": examples_path}, corpus_path, **options)
    return documents, tables["train"], {**report["documents"], **report["train"]}


def count_examples(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """
    Count examples, hops, negatives, comparison lines, decompositions by origin and question types.

    Args:
        rows (`Sequence[Mapping[str, Any]]`):
            Records of the `examples` config.

    Returns:
        `dict[str, int]`: The counts, in alphabetical order.
    """
    counts: Counter[str] = Counter(examples=len(rows))
    for row in rows:
        meta = json.loads(row["meta"])
        counts["hops"] += len(row["positives"])
        counts["negatives"] += sum(len(ids) for ids in row["negatives"])
        counts["hops_without_negatives"] += sum(not ids for ids in row["negatives"])
        counts["comparison_lines"] += meta["comparison"]
        counts[f"decomposition/{meta['decomposition']}"] += 1
        counts[f"type/{meta.get('type', 'none')}"] += 1
    return dict(sorted(counts.items()))


def _skip_counts(policy: ErrorPolicy) -> dict[str, int]:
    return {f"skipped/{reason}": number for reason, number in sorted(policy.skipped.items())}


@dataclass
class MultiHopConfig(datasets.BuilderConfig):
    """
    Options of [`MultiHop`].

    Args:
        corpus_file (`str`, *optional*):
            The file with passages.
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per hop.
        num_title_negatives (`int`, *optional*, defaults to 0):
            Further ones, the passages with the most similar titles.
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        on_error (`str`, *optional*, defaults to `"raise"`):
            `"raise"` or `"skip"`.
    """

    corpus_file: str | None = None
    num_negatives: int = 5
    num_title_negatives: int = 0
    query_token: str = DEFAULT_QUERY_TOKEN
    on_error: str = "raise"

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """Name the cache folder; a corpus file that changed must not find the old one."""
        if self.corpus_file:
            state = Path(self.corpus_file).stat()
            config_kwargs = {**config_kwargs, "corpus_state": f"{state.st_size}-{state.st_mtime_ns}"}
        return str(super().create_config_id(config_kwargs, custom_features=custom_features))


class MultiHop(datasets.GeneratorBasedBuilder):
    """
    The builder for `datasets`: configs `documents` and `examples`, cached and out of memory.

    Examples:

    ```python
    builder = MultiHop(config_name="examples", data_files={"train": "train.jsonl"}, corpus_file="corpus.jsonl")
    builder.download_and_prepare()
    examples = builder.as_dataset(split="train")
    ```
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = MultiHopConfig
    BUILDER_CONFIGS = [
        MultiHopConfig(name="documents", version=VERSION, description="passages: id, title, sentences"),
        MultiHopConfig(name="examples", version=VERSION, description="conversations with retrieval tokens"),
    ]
    config: MultiHopConfig

    def _info(self) -> datasets.DatasetInfo:
        features = DOCUMENTS_FEATURES if self.config.name == "documents" else EXAMPLES_FEATURES
        return datasets.DatasetInfo(features=features, description=self.config.description)

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        if not self.config.data_files:
            raise ValueError('`data_files` is missing; give the files with questions, e.g. {"train": "train.jsonl"}.')
        files: dict[str, list[str]] = dl_manager.download(self.config.data_files)
        policy = ErrorPolicy(self.config.on_error)
        store = collect_documents(
            [path for paths in files.values() for path in paths], self.config.corpus_file, policy
        )
        if self.config.name == "documents":
            return [datasets.SplitGenerator(name="train", gen_kwargs={"store": store, "paths": None})]
        return [
            datasets.SplitGenerator(name=str(split), gen_kwargs={"store": store, "paths": paths})
            for split, paths in files.items()
        ]

    def _generate_examples(
        self, store: DocumentStore, paths: list[str] | None
    ) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
        if paths is None:
            for row, document in enumerate(store):
                yield (0, row), document.as_record()
            return
        policy = ErrorPolicy(self.config.on_error)
        wanted = self.config.num_title_negatives
        neighbours = TitleNeighbours(store, wanted) if wanted else None
        for number, path in enumerate(paths):
            rows = iterate_examples(
                path,
                store,
                num_negatives=self.config.num_negatives,
                query_token=self.config.query_token,
                policy=policy,
                neighbours=neighbours,
            )
            for row, example in enumerate(rows):
                yield (number, row), example
        if policy.skipped:
            logger.warning("skipped records by reason: %s", dict(policy.skipped))


def _parse_split(argument: str) -> tuple[str, str]:
    split, mark, path = argument.partition("=")
    return (split, path) if mark else ("train", argument)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, see the head of this file."""
    parser = argparse.ArgumentParser(prog="python -m data_builders.multi_hop.builder", description=__doc__)
    parser.add_argument("--examples", nargs="+", required=True, metavar="[SPLIT=]FILE", help="files with questions")
    parser.add_argument("--corpus", help="file with passages (id, title, sentences)")
    parser.add_argument("--out", required=True, help="folder for documents/, examples/ and README.md")
    parser.add_argument("--num-negatives", type=int, default=5)
    parser.add_argument("--num-title-negatives", type=int, default=0, help="further ones, with similar titles")
    parser.add_argument("--balanced-train", type=int, metavar="N", help="draw N of train, rare templates preferred")
    parser.add_argument("--query-token", default=DEFAULT_QUERY_TOKEN)
    parser.add_argument("--on-error", choices=("raise", "skip"), default="raise")
    options = parser.parse_args(arguments)
    splits = [_parse_split(argument) for argument in options.examples]
    if len(dict(splits)) != len(splits):
        parser.error("a split is given twice; name the splits, e.g. --examples train=A dev=B")
    documents, examples, report = build_splits(
        dict(splits),
        options.corpus,
        num_negatives=options.num_negatives,
        query_token=options.query_token,
        on_error=options.on_error,
        num_title_negatives=options.num_title_negatives,
        balanced_sizes={"train": options.balanced_train} if options.balanced_train else None,
    )
    write_repository(options.out, documents, examples, title="Multi-hop questions for OneGen")
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
