"""The card of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers import AutoConfig

from ..bundled.checkpoints import is_builtin
from ..configuration import OneGenConfig
from ..hub.layout import TRAINING_RUN_FILE
from ..hub.names import hub_id, public_name
from .evaluation import metric_entry, read_report, report_entries, training_metrics
from .template import Verbatim, fill
from .training import emissions, training_facts
from .training_record import read_record

TASK_TAGS = {"rag": "retrieval-augmented-generation", "entity-linking": "entity-linking"}
"""What a model is for → its tag on the Hub."""


def model_card(
    directory: str | os.PathLike[str],
    datasets: Sequence[str] = (),
    repo_id: str | None = None,
    notes: str = "",
    results: Mapping[str, float] | None = None,
    evaluated_on: str = "evaluation split",
    reports: Sequence[str | os.PathLike[str]] = (),
    base_model: str | None = None,
    merged_from: str | os.PathLike[str] | None = None,
    tags: Sequence[str] = (),
    **metadata: Any,
) -> ModelCard:
    """
    Make the card of a saved checkpoint.

    It reads config.json and, where they exist, adapter_config.json, training_run.json, training_args.json,
    trainer_state.json, eval_results.json and codecarbon's emissions.csv. Unknown facts are left out.

    Args:
        directory (`str` or path): Where [`OneGenTrainer`] saved the model.
        datasets (`Sequence[str]`, *optional*): Names of the training data; by default those of training_run.json.
        repo_id (`str`, *optional*): Name of the repository; by default that of the directory.
        notes (`str`, *optional*): Further sections in Markdown.
        results (`Mapping[str, float]`, *optional*): Further metrics, by name.
        evaluated_on (`str`, *optional*, defaults to `"evaluation split"`): Name of the data behind the metrics.
        reports (`Sequence[str]`, *optional*): Output directories of `onegen-hf evaluate`; the card lists
            their scores with confidence intervals. Whether they belong to this model is checked by the command `push`.
        base_model (`str`, *optional*): What the model was made from; by default as recorded.
        merged_from (`str` or path, *optional*): The adapter that was merged into this model; the records are read
            there.
        tags (`Sequence[str]`, *optional*): Further tags.
        metadata: Further fields of the front matter: `license`, `language`, ...

    Returns:
        `huggingface_hub.ModelCard`

    Raises:
        `FileNotFoundError`: If a directory of `reports` holds no report.
        `ValueError`: If config.json has no `onegen` section.
    """
    root, records = Path(directory), Path(merged_from or directory)
    settings = OneGenConfig.of(AutoConfig.from_pretrained(root))
    if settings is None:
        raise ValueError(f"{root / 'config.json'} has no 'onegen' section: there is nothing to write a card about")
    adapter, run = read_record(records / "adapter_config.json"), read_record(records / TRAINING_RUN_FILE)
    base_model = base_model or adapter.get("base_model_name_or_path") or run.get("base_model")
    datasets = list(datasets) or run.get("datasets") or []
    training = training_facts(records, settings, adapter)
    evaluation = {**training_metrics(read_record(records / "eval_results.json")), **(results or {})}
    entries = [metric_entry(metric, value, evaluated_on) for metric, value in evaluation.items()]
    entries += [entry for report in reports for entry in report_entries(Path(report))]
    name = repo_id or root.name
    # Without a continuation token there is no linking, see `MentionMarkup`.
    task = "rag" if settings.tokens.continuation is None else "entity-linking"
    kind = "LoRA adapter" if adapter and merged_from is None else "model"
    carbon = emissions(records)
    data = ModelCardData(
        base_model=hub_id(base_model),
        # A merged adapter too: what the Hub calls a merge has several bases.
        base_model_relation=hub_id(base_model) and ("finetune" if kind == "model" else "adapter"),
        library_name="transformers",
        # For either task: the Hub's snippet for this tag is one that runs.
        pipeline_tag="text-generation",
        tags=["onegen", TASK_TAGS[task], *_library_tags(root), *tags],
        datasets=[dataset for dataset in datasets if hub_id(dataset)] or None,
        model_name=name.rpartition("/")[2] if entries else None,
        eval_results=entries or None,
        co2_eq_emissions=carbon,
        **metadata,
    )
    return fill(
        ModelCard,
        "model.md",
        data,
        model_name=name.rpartition("/")[2],
        repo_id=name,
        builtin=is_builtin(root),
        task=task,
        kind=kind,
        merged=merged_from is not None,
        base_model=public_name(base_model),
        settings=settings,
        training=training,
        datasets=[public_name(dataset) for dataset in datasets],
        evaluation=evaluation,
        evaluated_on=evaluated_on,
        reports=[read_report(report) for report in reports],
        carbon=carbon,
        notes=Verbatim(notes),
    )


def _library_tags(root: Path) -> list[str]:
    return ["sentence-transformers"] if (root / "modules.json").is_file() else []
