"""`build_repository`: sources to a dataset repository that `load_dataset` opens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data_builders.card import dataset_card
from data_builders.converter import Converter
from data_builders.documents import DocumentStore
from data_builders.engine import Engine
from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.options import check_folder_name, check_option
from data_builders.parquet_shards import BYTES_PER_SHARD, ShardWriter
from data_builders.report import SplitReport
from data_builders.repository import check_split, replaced_repository
from data_builders.sampling import balanced_rows, kind_of
from data_builders.single_hop.reflection_rule import with_reflection
from data_builders.sources import Sources, as_list
from data_builders.unanswerable import with_unanswerable

Miner = Callable[[Iterable[Mapping[str, Any]], DocumentStore], Iterator[dict[str, Any]]]

REPORT_FILE = "report.json"


def build_repository(
    converter: Converter,
    out_dir: str | PathLike[str],
    examples: Mapping[str, Sources],
    documents: Sources = (),
    *,
    on_error: str = "raise",
    limit: int | None = None,
    seed: int = 0,
    sample: Mapping[str, int] | None = None,
    miner: Miner | None = None,
    unanswerable_share: float = 0.0,
    reflection: bool = False,
    irrelevant_share: float = 0.3,
    given_share: float = 0.2,
    license: str | None = None,
    bytes_per_shard: int = BYTES_PER_SHARD,
) -> dict[str, Any]:
    """
    Build the configs `documents` and `examples` and write them as Parquet, with `README.md` and `report.json`.

    Rows are streamed: memory holds ids, titles and digests of the passages, never their texts. The same input and seed
    give the same bytes. What is in `out_dir` is replaced when everything is written, and not before.

    Args:
        converter (`Converter`):
            The format of the sources; used for this one build.
        out_dir (`str` or `PathLike`):
            The folder of the repository.
        examples (`Mapping[str, Sources]`):
            Split → files, folders and datasets on the Hub, see [`resolve`].
        documents (`Sources`, *optional*):
            The same for passages that the rows don't carry themselves.
        on_error (`str`, *optional*, defaults to `"raise"`):
            `"raise"`, or `"skip"` to leave malformed rows out and count them by reason.
        limit (`int`, *optional*):
            Read at most this many rows of each split.
        seed (`int`, *optional*, defaults to 0):
            Chooses the samples.
        sample (`Mapping[str, int]`, *optional*):
            Split → how many of its examples to keep, rare kinds preferred; see [`balanced_rows`].
        miner (`Callable`, *optional*):
            Adds hard negatives, see [`make_miner`].
        unanswerable_share (`float`, *optional*, defaults to 0.0):
            Of the split `train`: put a hard negative in the place of the passage that holds the answer, see
            [`with_unanswerable`].
        reflection (`bool`, *optional*, defaults to `False`):
            Write Self-RAG's reflection tokens by a rule, see [`with_reflection`].
        irrelevant_share (`float`, *optional*, defaults to 0.3):
            With `reflection`, of the split `train`: share of the examples with a hard negative in place of their
            passage.
        given_share (`float`, *optional*, defaults to 0.2):
            With `reflection`, of the split `train`: share of the examples whose question brings its passage along.
        license (`str`, *optional*):
            Of the data, as the Hub names it, such as `"cc-by-sa-4.0"`; for the README.
        bytes_per_shard (`int`, *optional*, defaults to 400 MiB):
            Start a new Parquet file once this many bytes are in memory.

    Returns:
        `dict[str, Any]`: The report, as written to `report.json`.

    Raises:
        `RecordError`: For a malformed row, with file, line and remedy, if `on_error="raise"`.
        `TypeError`: If an option has another type.
        `ValueError`: If a split has no usable row, or an option can't be right.
        `FileNotFoundError`: If a source is not there.

    Examples:

    ```python
    from data_builders.build import build_repository
    from data_builders.multi_hop.converter import MultiHopConverter

    build_repository(MultiHopConverter(num_negatives=3), "data/hotpotqa", {"train": "hotpot_train_v1.1.json"})
    ```
    """
    if not isinstance(converter, Converter):
        raise TypeError(f"`converter` must be a Converter such as MultiHopConverter(), got {converter!r:.100}.")
    if not isinstance(examples, Mapping):
        raise TypeError(
            f'`examples` must map splits to sources, as {{"train": "a.jsonl"}} does, got {examples!r:.90}.'
        )
    check_folder_name("out_dir", out_dir)
    check_option("limit", limit, int, type(None), least=1)
    check_option("seed", seed, int)
    check_option("reflection", reflection, bool)
    if reflection and unanswerable_share:
        raise ValueError(
            f"`unanswerable_share`={unanswerable_share} is for data without reflection tokens; with `reflection`, "
            "give `irrelevant_share`."
        )
    check_option("license", license, str, type(None))
    check_option("bytes_per_shard", bytes_per_shard, int, least=1)
    if miner is not None and not callable(miner):
        raise TypeError(f"`miner` must be a function, such as that of make_miner(), got {miner!r:.100}.")
    sample = dict(sample or {})
    for split, size in sample.items():
        check_option(f"sample[{split!r}]", size, int, least=1)
    if unknown := set(sample) - set(examples):
        raise ValueError(f"`sample` names the splits {sorted(unknown)}, which `examples` does not have.")
    for split in examples:
        check_split(split)
    # The downloads are gone before the rest is put in place.
    with replaced_repository(out_dir) as folder, TemporaryDirectory(dir=folder) as downloads:
        engine = Engine(converter, examples, documents, Path(downloads), on_error, limit)
        corpus = engine.collect_documents()
        splits = {
            split: _write_split(
                engine,
                split,
                folder,
                sample.get(split),
                seed,
                miner,
                _last_step(
                    engine, split, seed, unanswerable_share, (irrelevant_share, given_share) if reflection else None
                ),
                bytes_per_shard,
            )
            for split in examples
        }
        with ShardWriter(folder / "documents", "train", DOCUMENTS_FEATURES, bytes_per_shard) as writer:
            for document in engine.store:
                writer.write(document.as_record())
        report = {
            "builder": converter.name,
            "sources": _sources(examples, documents),
            "options": {
                **_options(converter),
                "on_error": on_error,
                "limit": limit,
                "seed": seed,
                "sample": sample,
                "unanswerable_share": unanswerable_share,
                **(
                    {"reflection": True, "irrelevant_share": irrelevant_share, "given_share": given_share}
                    if reflection
                    else {}
                ),
            },
            "documents": {
                "documents": writer.num_rows,
                "rows": corpus.rows,
                "dropped": dict(sorted(corpus.dropped.items())),
            },
            "splits": {split: counts.as_dict() for split, counts in splits.items()},
        }
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (folder / REPORT_FILE).write_text(text, encoding="utf-8")
        paths = {
            "documents": "documents/train-*.parquet",
            **{split: f"examples/{split}-*.parquet" for split in splits},
        }
        card = dataset_card(report, paths, converter.title, license=license, folder=folder)
        (folder / "README.md").write_text(str(card), encoding="utf-8")
    return report


def _write_split(
    engine: Engine,
    split: str,
    folder: Path,
    size: int | None,
    seed: int,
    miner: Miner | None,
    last_step: Callable[[Iterable[Mapping[str, Any]]], Iterator[dict[str, Any]]],
    bytes_per_shard: int,
) -> SplitReport:
    report = SplitReport(engine.converter.counted_meta)
    produce = partial(engine.iterate_examples, split)
    rows = produce(report) if size is None else _sampled(produce, report, size, seed)
    with ShardWriter(folder / "examples", split, EXAMPLES_FEATURES, bytes_per_shard) as writer:
        mined = rows if miner is None else miner(rows, engine.store)
        for example in last_step(mined):
            report.add(example)
            writer.write(example)
    return report


def _last_step(
    engine: Engine, split: str, seed: int, unanswerable_share: float, reflection_shares: tuple[float, float] | None
) -> Callable[[Iterable[Mapping[str, Any]]], Iterator[dict[str, Any]]]:
    """What is done with the examples of a split once they have their negatives."""
    training = split == "train"
    if reflection_shares is None:
        share = unanswerable_share if training else 0.0
        return lambda examples: with_unanswerable(examples, engine.store, share, seed)
    irrelevant, given = reflection_shares if training else (0.0, 0.0)
    query_token = engine.converter.query_token
    return lambda examples: with_reflection(examples, engine.store, irrelevant, given, seed, query_token)


def _sampled(
    produce: Callable[[SplitReport], Iterator[dict[str, Any]]], report: SplitReport, size: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Convert twice, to choose by kind and to keep what was chosen, so that only the sample is in memory."""
    chosen = balanced_rows([kind_of(example) for example in produce(SplitReport())], size, seed)
    places = {row: place for place, row in enumerate(chosen)}
    kept = {places[row]: example for row, example in enumerate(produce(report)) if row in places}
    left_out = report.rows - report.dropped.total() - len(kept)
    if left_out:
        report.dropped["not_sampled"] = left_out
    for place in range(len(kept)):
        yield kept.pop(place)


def _sources(examples: Mapping[str, Sources], documents: Sources) -> dict[str, list[str]]:
    parts = {**examples, **({"documents": documents} if documents else {})}
    return {
        name: list(dict.fromkeys(_public_name(fspath(source)) for source in as_list(sources)))
        for name, sources in parts.items()
    }


def _options(converter: Converter) -> dict[str, Any]:
    options = {option.name: getattr(converter, option.name) for option in fields(converter) if option.init}
    for name in converter.path_options:
        if options[name]:
            options[name] = Path(options[name]).name
    return options


def _public_name(source: str) -> str:
    """The id of a dataset, or the name of a file or folder without where it lies on this machine."""
    return Path(source).name if Path(source.partition(":")[0]).exists() else source
