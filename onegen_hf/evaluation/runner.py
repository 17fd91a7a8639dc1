"""What every evaluation does: settings checked, blocks computed where they are missing, a report written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from ..index import PassageIndex
from .examples import EvaluationExample
from .report import EvaluationReport
from .results_file import ResultsFile
from .run_directory import RunDirectory
from .settings import digest, index_settings, library_versions, model_settings

REPORT_FILE = "report.json"
MODEL_INDEX_FILE = "model-index.yaml"


@contextmanager
def run_directory(output_dir: str | os.PathLike[str] | None) -> Iterator[RunDirectory]:
    """The directory of a run; a temporary one for who only wants the report."""
    if output_dir is not None:
        yield RunDirectory(output_dir)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield RunDirectory(temporary)


def run_settings(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    index: PassageIndex,
    examples: Sequence[EvaluationExample],
    **options: Any,
) -> dict[str, Any]:
    """Everything that the results of a run depend on."""
    return {
        **options,
        "model": model_settings(model, tokenizer),
        "index": index_settings(index),
        "examples": {"number": len(examples), "digest": digest(asdict(example) for example in examples)},
        "versions": library_versions(),
    }


def run_blocks(
    path: Path,
    examples: Sequence[EvaluationExample],
    block_size: int,
    compute: Callable[[Sequence[EvaluationExample]], list[dict[str, Any]]],
    show_progress: bool = True,
) -> ResultsFile:
    """
    Compute the results that are not in the file yet.

    Args:
        path (`Path`): Of the results.
        examples (`Sequence[EvaluationExample]`)
        block_size (`int`): Examples that are computed together.
        compute (`Callable`): Examples of a block → their results, in order.
        show_progress (`bool`, *optional*, defaults to `True`)

    Returns:
        [`ResultsFile`]: Complete.
    """
    results = ResultsFile(path, [example.id for example in examples], block_size)
    with tqdm(
        total=len(examples), initial=results.finished, desc=path.stem, unit="example", disable=not show_progress
    ) as bar:
        for block in results.blocks():
            found = compute(examples[block])
            results.append([{"id": example.id, **one} for example, one in zip(examples[block], found, strict=True)])
            bar.update(len(found))
    return results


def write_report(directory: RunDirectory, report: EvaluationReport) -> EvaluationReport:
    """Write `report.json` and `model-index.yaml`; returns the report."""
    directory.write(MODEL_INDEX_FILE, report.model_index())
    directory.write(REPORT_FILE, report.to_json())
    return report


def public_name(name: str | os.PathLike[str] | None, default: str) -> str:
    """A name that can be published: of a local directory its last part, never the path."""
    if name is None or not str(name):
        return default
    return Path(name).resolve().name if os.path.exists(name) else str(name)


def check_positive(**values: int) -> None:
    """
    Raises:
        `ValueError`: If one is below 1.
    """
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")


def dataset_facts(rows: Any, dataset: str | None, split: str | None) -> Mapping[str, Any]:
    """Name and split of the data as a report tells them; what is not given, a `datasets.Dataset` may know."""
    known_split = getattr(rows, "split", None)
    return {
        "dataset": public_name(dataset, "examples"),
        "split": split or (None if known_split is None else str(known_split)),
    }
