"""`evaluation_run`: the steps of every evaluation: check settings, compute missing results, write the report."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from ...checks import Rule, flag, instance, integer, number, optional, path, text
from ...index import PassageIndex
from ..report import EvaluationReport
from .results_file import ResultsFile
from .run_directory import RunDirectory
from .settings import digest, index_settings, library_versions, model_settings

RUN_RULES: dict[str, Rule] = {
    "output_dir": optional(path()),
    "dataset": optional(text()),
    "split": optional(instance(str)),  # a `datasets.NamedSplit` is one
    "level": number(above=0, below=1),
    "seed": integer(least=0),
    "batch_size": integer(least=1),
    "show_progress": flag(),
}
"""Of the arguments that evaluations share."""
REPORT_FILE = "report.json"
MODEL_INDEX_FILE = "model-index.yaml"


class Example(Protocol):
    """What is evaluated: a dataclass with an id."""

    @property
    def id(self) -> str:
        """Not necessarily unique."""


ExampleT = TypeVar("ExampleT", bound=Example)
ReportT = TypeVar("ReportT", bound=EvaluationReport)


@dataclass(frozen=True)
class EvaluationRun:
    """
    An evaluation in progress.

    Attributes:
        directory ([`RunDirectory`])
        settings (`dict[str, Any]`): All that the results depend on.
        model (`str`): The model's name, fit to be published.
        show_progress (`bool`)
    """

    directory: RunDirectory
    settings: dict[str, Any]
    model: str
    show_progress: bool

    def results(
        self,
        name: str,
        examples: Sequence[ExampleT],
        block_size: int,
        compute: Callable[[Sequence[ExampleT]], list[dict[str, Any]]],
    ) -> ResultsFile:
        """
        Compute the missing results.

        Args:
            name (`str`): Of their file.
            examples (`Sequence`)
            block_size (`int`): Examples that are computed together.
            compute (`Callable`): Examples of a block → their results, in order.

        Returns:
            [`ResultsFile`]: Complete.
        """
        results = ResultsFile(self.directory.path / name, [example.id for example in examples], block_size)
        with tqdm(
            total=len(examples),
            initial=results.finished,
            desc=name.partition(".jsonl")[0],
            unit="example",
            disable=not self.show_progress,
        ) as bar:
            for block in results.blocks():
                found = compute(examples[block])
                results.append([{"id": one.id, **own} for one, own in zip(examples[block], found, strict=True)])
                bar.update(len(found))
        return results

    def write(self, report: ReportT) -> ReportT:
        """Write `report.json` and `model-index.yaml`; returns the report."""
        self.directory.write(MODEL_INDEX_FILE, report.model_index())
        self.directory.write(REPORT_FILE, report.to_json())
        return report


@contextmanager
def evaluation_run(
    output_dir: str | os.PathLike[str] | None,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    index: PassageIndex | None,
    examples: Mapping[str, Any],
    options: Mapping[str, Any],
    show_progress: bool = True,
) -> Iterator[EvaluationRun]:
    """
    Open the directory of a run for this process and these settings.

    Args:
        output_dir (`str` or path, *optional*): By default a temporary one, for who only wants the report.
        model (`OneGenForCausalLM`)
        tokenizer (`PreTrainedTokenizerBase`)
        index ([`PassageIndex`], *optional*)
        examples (`Mapping[str, Any]`): What tells them from others: [`identity`].
        options (`Mapping[str, Any]`): Task, `k`, batch size, ...
        show_progress (`bool`, *optional*, defaults to `True`)

    Raises:
        `OSError`: If it is not writable.
        `ValueError`: If it contains results of other settings, or another process is using it.
    """
    with _directory(output_dir) as directory:
        settings = {
            **options,
            "model": model_settings(model, tokenizer),
            "index": None if index is None else index_settings(index),
            "examples": dict(examples),
            "versions": library_versions(),
        }
        with directory.opened(settings):
            yield EvaluationRun(directory, settings, public_name(model.name_or_path, "model"), show_progress)


@contextmanager
def _directory(output_dir: str | os.PathLike[str] | None) -> Iterator[RunDirectory]:
    if output_dir is not None:
        yield RunDirectory(output_dir)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield RunDirectory(temporary)


def identity(examples: Sequence[Any]) -> dict[str, Any]:
    """Number and hash of examples, which are dataclasses."""
    return {"number": len(examples), "digest": digest(asdict(example) for example in examples)}


def public_name(name: str | os.PathLike[str] | None, default: str) -> str:
    """A name that can be published: for a local directory its last part, never the path."""
    if name is None or not str(name):
        return default
    return Path(name).resolve().name if os.path.exists(name) else str(name)


def dataset_facts(rows: Any, dataset: str | None, split: str | None) -> tuple[str, str | None]:
    """Name and split of the data for the report, read from a `datasets.Dataset` if they are not given."""
    known_split = getattr(rows, "split", None)
    return public_name(dataset, "examples"), split or (None if known_split is None else str(known_split))
