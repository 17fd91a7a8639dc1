"""What a model card tells of scores: of the training's own evaluation, and of `onegen-hf evaluate`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import model_index_to_eval_results

from ..hub.names import public_name

_NOT_METRICS = ("runtime", "per_second", "epoch", "num_passages", "total_flos")
_RUN_SUFFIXES = {"gold_passages": "_with_gold_passages"}


def read_report(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """
    Read the report of an evaluation.

    Args:
        directory (`str` or path): Where `onegen-hf evaluate` wrote.

    Raises:
        `FileNotFoundError`: If there is no report.
    """
    report = json.loads(_existing(directory, "report.json").read_text(encoding="utf-8"))
    return {**report, "dataset": public_name(report["dataset"])}


def report_entries(directory: str | os.PathLike[str]) -> list[EvalResult]:
    """
    The scores of a report as entries of the `model-index`, each with its confidence interval.

    Args:
        directory (`str` or path): Where `onegen-hf evaluate` wrote.

    Raises:
        `FileNotFoundError`: If there is no report.
    """
    text = _existing(directory, "model-index.yaml").read_text(encoding="utf-8")
    _, entries = model_index_to_eval_results(yaml.safe_load(text)["model-index"])
    report = read_report(directory)
    estimates = {
        metric + _RUN_SUFFIXES.get(run, ""): estimate
        for run, result in report["results"].items()
        for metric, estimate in result["all"]["metrics"].items()
    }
    for entry in entries:
        entry.dataset_type, entry.dataset_name = public_name(entry.dataset_type), public_name(entry.dataset_name)
        # Entries of entity linking, one set per data set, come with their own.
        if entry.metric_args is None and (found := estimates.get(entry.metric_type)) is not None:
            interval = [round(found["low"], 4), round(found["high"], 4)]
            entry.metric_args = {"confidence_interval": interval, "level": report["level"]}
    return entries


def training_metrics(found: Mapping[str, Any]) -> dict[str, float]:
    """
    The scores in an eval_results.json, without what it holds of times and sizes.

    Args:
        found (`Mapping[str, Any]`): Its content.
    """
    names = {name: name.removeprefix("eval_") for name in found if not any(part in name for part in _NOT_METRICS)}
    return {short: round(found[name], 4) for name, short in names.items()}


def metric_entry(metric: str, value: float, dataset: str) -> EvalResult:
    """One score as an entry of the `model-index`."""
    return EvalResult(
        task_type="text-generation",
        dataset_type=dataset.lower().replace(" ", "-"),
        dataset_name=dataset,
        metric_type=metric,
        metric_value=value,
    )


def _existing(directory: str | os.PathLike[str], name: str) -> Path:
    path = Path(directory) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the output directory of a finished `onegen-hf evaluate`")
    return path
