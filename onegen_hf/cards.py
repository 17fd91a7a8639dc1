"""Model and index cards: filled from what training, evaluation and indexing recorded, never by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from transformers import AutoConfig

from .configuration import OneGenConfig
from .losses import CONTRASTIVE_LOSSES

_SHOWN = {
    "learning_rate": "learning rate",
    "lr_scheduler_type": "schedule",
    "per_device_train_batch_size": "batch size per device",
    "gradient_accumulation_steps": "gradient accumulation",
    "num_hard_negatives": "hard negatives per query token",
    "num_random_negatives": "random negatives per query token",
    "max_length": "longest row in tokens",
    "seed": "seed",
}
_NOT_METRICS = ("runtime", "per_second", "epoch", "num_passages", "total_flos")


def model_card(
    directory: str | os.PathLike[str],
    datasets: Sequence[str] = (),
    repo_id: str | None = None,
    notes: str = "",
    results: Mapping[str, float] | None = None,
    evaluated_on: str = "evaluation split",
    reports: Sequence[str | os.PathLike[str]] = (),
) -> ModelCard:
    """
    Make the card of a saved checkpoint.

    It reads config.json, and of adapter_config.json, training_args.json, trainer_state.json and eval_results.json what
    is there; what is not known is left out.

    Args:
        directory (`str` or path): Where [`OneGenTrainer`] saved the model.
        datasets (`Sequence[str]`, *optional*): Names of the training data.
        repo_id (`str`, *optional*): Name of the repository; by default that of the directory.
        notes (`str`, *optional*): Further sections in Markdown.
        results (`Mapping[str, float]`, *optional*): Further metrics, by name.
        evaluated_on (`str`, *optional*, defaults to `"evaluation split"`): Name of the data behind the metrics.
        reports (`Sequence[str]`, *optional*): Output directories of `onegen-hf evaluate`; their scores are told with
            confidence intervals.

    Returns:
        `huggingface_hub.ModelCard`

    Raises:
        `FileNotFoundError`: If a directory of `reports` holds no report.
        `ValueError`: If config.json has no `onegen` section.
    """
    root = Path(directory)
    settings = OneGenConfig.of(AutoConfig.from_pretrained(root))
    if settings is None:
        raise ValueError(f"{root / 'config.json'} has no 'onegen' section: there is nothing to write a card about")
    adapter, training = _read(root / "adapter_config.json"), _read(root / "training_args.json")
    state, evaluation = _read(root / "trainer_state.json"), _metrics(_read(root / "eval_results.json"))
    evaluation |= results or {}
    base_model = adapter.get("base_model_name_or_path")
    loss = CONTRASTIVE_LOSSES[training["contrastive_loss"]](**_loss_options(training, settings)) if training else None
    name = repo_id or root.name
    entries = [_eval_result(metric, value, evaluated_on) for metric, value in evaluation.items()]
    entries += [entry for report in reports for entry in _report_entries(Path(report))]
    data = ModelCardData(
        base_model=base_model if base_model and not os.path.isabs(base_model) else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["onegen", "retrieval-augmented-generation"],
        datasets=[d for d in datasets if d.count("/") == 1 and not os.path.exists(d)] or None,
        model_name=name.rpartition("/")[2] if entries else None,
        eval_results=entries or None,
    )
    with as_file(files("model_cards") / "model.md") as template:
        return ModelCard.from_template(
            data,
            template_path=str(template),
            model_name=name.rpartition("/")[2],
            repo_id=name,
            base_model=data.base_model,
            adapter=bool(adapter),
            settings=settings,
            training=training,
            training_table=_training_table(training, adapter, state),
            loss_config=loss.get_config_dict() if loss else {},
            loss_citation=loss.citation if loss else "",
            datasets=[Path(name).name if os.path.exists(name) else name for name in datasets],
            evaluation=evaluation,
            evaluated_on=evaluated_on,
            reports=[_report(Path(report)) for report in reports],
            notes=notes,
        )


def index_card(description: Mapping[str, Any], repo_id: str) -> DatasetCard:
    """
    Make the card of an index.

    Args:
        description (`Mapping[str, Any]`): Content of its index.json.
        repo_id (`str`): Name of the repository.

    Returns:
        `huggingface_hub.DatasetCard`
    """
    data = DatasetCardData(
        task_categories=["text-retrieval"],
        tags=["onegen", "faiss"],
        configs=[{"config_name": "passages", "data_files": "passages.parquet", "default": True}],
    )
    with as_file(files("model_cards") / "index.md") as template:
        return DatasetCard.from_template(
            data,
            template_path=str(template),
            name=repo_id.rpartition("/")[2],
            repo_id=repo_id,
            index={"libraries": {}, **description, "model_id": _public(description.get("model_id"))},
        )


def _public(name: str | None) -> str | None:
    """A name as others know it: of a directory of this machine only the last part."""
    return Path(name).name if name and (os.path.isabs(name) or os.path.exists(name)) else name


def _report(directory: Path) -> dict[str, Any]:
    path = directory / "report.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the output directory of a finished `onegen-hf evaluate`")
    report = _read(path)
    return {**report, "dataset": _public(report["dataset"])}


def _report_entries(directory: Path) -> list[EvalResult]:
    path = directory / "model-index.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the output directory of a finished `onegen-hf evaluate`")
    _, entries = model_index_to_eval_results(yaml.safe_load(path.read_text(encoding="utf-8"))["model-index"])
    for entry in entries:
        entry.dataset_type, entry.dataset_name = _public(entry.dataset_type), _public(entry.dataset_name)
    return entries


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _metrics(found: Mapping[str, Any]) -> dict[str, float]:
    names = {name: name.removeprefix("eval_") for name in found if not any(part in name for part in _NOT_METRICS)}
    return {short: round(found[name], 4) for name, short in names.items()}


def _eval_result(metric: str, value: float, dataset: str) -> EvalResult:
    return EvalResult(
        task_type="text-generation",
        dataset_type=dataset.lower().replace(" ", "-"),
        dataset_name=dataset,
        metric_type=metric,
        metric_value=value,
    )


def _loss_options(training: Mapping[str, Any], settings: OneGenConfig) -> dict[str, Any]:
    options: dict[str, Any] = {"scale": training.get("contrastive_scale") or settings.scale}
    if training["contrastive_loss"] == "bpr":
        options["negatives"] = training["bpr_negatives"]
    return options


def _training_table(
    training: Mapping[str, Any], adapter: Mapping[str, Any], state: Mapping[str, Any]
) -> dict[str, Any]:
    table: dict[str, Any] = {label: training[name] for name, label in _SHOWN.items() if training.get(name) is not None}
    if adapter:
        table["LoRA"] = f"r = {adapter['r']}, alpha = {adapter['lora_alpha']}, the retrieval tokens' rows trained too"
    if state:
        table["steps"] = state["global_step"]
        last: dict[str, Any] = next((e for e in reversed(state["log_history"]) if "loss_gen" in e), {})
        table |= {f"last {name}": round(last[name], 4) for name in ("loss_gen", "loss_ret") if name in last}
    return table
