"""What a model card tells of the training: objective, recipe, course of the losses, and what it cost."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from transformers import TrainingArguments

from ..configuration import OneGenConfig
from ..hub.layout import CURVES_FILE, TRAINING_RUN_FILE
from ..hub.names import public_name
from ..losses import CONTRASTIVE_LOSSES, ContrastiveLoss, MatryoshkaLoss, loss_options
from .training_record import LOGGED_LOSSES, changed_values, read_record

RECORDS = ("training_args.json", "trainer_state.json", "eval_results.json", TRAINING_RUN_FILE, CURVES_FILE)
"""What a training leaves beside the weights for the card."""
EMISSIONS_FILE = "emissions.csv"
"""What codecarbon leaves, where it was asked to watch."""


def training_facts(directory: Path, settings: OneGenConfig, adapter: Mapping[str, Any]) -> dict[str, Any]:
    """
    Collect what a training recorded for the template. Unknown facts are empty.

    Args:
        directory (`Path`): Where the training saved.
        settings ([`OneGenConfig`]): Of the model.
        adapter (`Mapping[str, Any]`): Content of adapter_config.json, if there is one.
    """
    arguments, run = read_record(directory / "training_args.json"), read_record(directory / TRAINING_RUN_FILE)
    state = read_record(directory / "trainer_state.json")
    recipe = run.get("recipe") or _recipe(arguments)
    return {
        **({"objective": _objective(arguments, settings)} if arguments else {}),
        "method": _method(run, adapter),
        "examples": run.get("examples"),
        "documents": run.get("documents"),
        "recipe": yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if recipe else "",
        "losses": _course(state.get("log_history") or run.get("losses") or []),
        "curves": CURVES_FILE if (directory / CURVES_FILE).is_file() else "",
        "compute": _compute(run, state),
        "libraries": run.get("libraries") or {},
    }


def _recipe(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of the arguments of a training that left no record: ours, and what differs from transformers' defaults."""
    known = {option.name for option in fields(TrainingArguments)}
    own = {name: value for name, value in arguments.items() if name not in known and value is not None}
    return {**own, **changed_values(TrainingArguments, arguments)}


def emissions(directory: Path) -> dict[str, Any] | None:
    """
    What codecarbon measured, as the Hub's `co2_eq_emissions`.

    Args:
        directory (`Path`): Where the training saved.
    """
    path = directory / EMISSIONS_FILE
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))  # one for each part of a run that was resumed
    if not rows:
        return None
    last = rows[-1]
    hardware = ", ".join(last[name] for name in ("gpu_model", "cpu_model") if last.get(name))
    found = {
        "emissions": round(1000 * sum(float(row["emissions"]) for row in rows), 3),  # kilograms there, grams here
        "source": "codecarbon",
        "training_type": "fine-tuning",
        "geographical_location": last.get("country_name"),
        "hardware_used": hardware,
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _objective(arguments: Mapping[str, Any], settings: OneGenConfig) -> dict[str, Any]:
    name = arguments["contrastive_loss"]
    options = loss_options(name, CONTRASTIVE_LOSSES[name], arguments)
    loss: ContrastiveLoss = CONTRASTIVE_LOSSES[name](**{"scale": settings.scale, **options})
    if settings.matryoshka_dims:
        loss = MatryoshkaLoss(loss, settings.matryoshka_dims)
    teacher = arguments.get("distill_from")
    return {
        "lambda_gen": arguments["lambda_gen"],
        "lambda_ret": arguments["lambda_ret"],
        "distill_from": public_name(teacher),
        "lambda_distill": arguments.get("lambda_distill"),
        "distill_temperature": arguments.get("distill_temperature"),
        "loss": name,
        "options": loss.get_config_dict(),
        "citation": loss.citation,
    }


def _method(run: Mapping[str, Any], adapter: Mapping[str, Any]) -> str:
    kind = ""
    if adapter:
        shape = f" (r = {adapter['r']}, alpha = {adapter['lora_alpha']})" if adapter.get("r") else ""
        kind = f"{adapter.get('peft_type', 'LORA').replace('LORA', 'LoRA')}{shape} and the retrieval tokens' rows"
    if trained := run.get("trained_parameters"):
        share = f"{trained:,} of {run['parameters']:,} parameters"
        return f"{kind}: {share}" if kind else share
    return kind


def _course(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The beginning and the end of the losses' curve."""
    entries = [entry for entry in log if "loss_gen" in entry and "step" in entry]
    ends = entries[:1] + entries[1:][-1:]
    return [{name: entry[name] for name in ("step", *LOGGED_LOSSES) if name in entry} for entry in ends]


def _compute(run: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, str]:
    steps, flops = run.get("steps") or state.get("global_step"), run.get("flops") or state.get("total_flos")
    found = {"steps": f"{steps:,}" if steps else "", "epochs": f"{run['epochs']:.4g}" if run.get("epochs") else ""}
    if devices := run.get("devices"):
        found["hardware"] = f"{devices['number']} × {devices['name']}"
    if run.get("seconds"):
        first = run.get("measured_from_step")
        since = f" (from step {first} on)" if first else ""
        found["duration"] = f"{timedelta(seconds=round(run['seconds']))}{since}"
    if flops:
        found["floating-point operations"] = f"{flops:.2e} (estimated)"
    return {name: value for name, value in found.items() if value}
