"""`onegen-hf info FOLDER`: what is in a checkpoint, an index, a dataset or an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..bundled.checkpoints import builtin_path
from ..checks import checked_fields, flag
from ..configuration import OneGenConfig
from ..hub.layout import CARD, DESCRIPTION_FILE, TRAINING_RUN_FILE, WORDS_FILE, current_version
from ..terminal.characters import printable_json, printable_line
from ..terminal.options import OptionParser
from ..terminal.usage import usage_errors

_WIDTH = 18
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


@dataclass
class InfoArguments:
    """Options of `onegen-hf info`."""

    json: bool = field(default=False, metadata={"help": "Print one JSON object per folder."})

    def __post_init__(self) -> None:
        checked_fields(self, json=flag())


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        InfoArguments,
        "onegen-hf info",
        "FOLDER [FOLDER ...]",
        "Describe folders: checkpoints (also builtin and builtin-linker), indexes, datasets or evaluations.",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command. No model and no vectors are loaded."""
    command = parser()
    folders, options = command.parse_with_texts(arguments)
    if not folders:
        command.error("name a folder: onegen-hf info FOLDER")
    with usage_errors():
        described = [describe(Path(builtin_path(folder))) for folder in folders]
    for facts in described:
        print(printable_json(json.dumps(facts, ensure_ascii=False)) if options.json else format_facts(facts))


def describe(folder: Path) -> dict[str, Any]:
    """
    Describe a folder.

    Args:
        folder (`Path`)

    Returns:
        `dict[str, Any]`: `kind`, `folder` and the facts, by name.

    Raises:
        `FileNotFoundError`: If there is no such folder.
        `ValueError`: If it holds none of the things that are described, or a damaged file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    kinds = {
        "checkpoint": ("config.json", describe_checkpoint),
        "index": (DESCRIPTION_FILE, describe_index),
        "evaluation": ("report.json", describe_evaluation),
        "dataset": (CARD, describe_dataset),
    }
    for kind, (name, facts_of) in kinds.items():
        place = current_version(folder) if kind == "index" else folder
        if (place / name).is_file() and (facts := facts_of(place)):
            return {"kind": kind, "folder": str(folder), **facts}
    raise ValueError(f"{folder} holds no checkpoint, index, dataset or evaluation")


def describe_checkpoint(folder: Path) -> dict[str, Any]:
    """Backbone, retrieval tokens and settings, training, and the index beside it."""
    config = _read(folder / "config.json")
    adapter, run = _read(folder / "adapter_config.json"), _read(folder / TRAINING_RUN_FILE)
    facts: dict[str, Any] = {
        "backbone": f"{config.get('model_type')}, {config.get('num_hidden_layers')} layers, "
        f"hidden size {config.get('hidden_size')}",
        "weights": _size([file for pattern in _WEIGHTS for file in folder.glob(pattern)]),
    }
    if adapter:
        facts["adapter"] = f"{adapter.get('peft_type')}, rank {adapter.get('r')}"
        facts["base"] = adapter.get("base_model_name_or_path")
    if "onegen" not in config:
        return {**facts, "retrieval": "none: a plain language model (name a preset to load it with this package)"}
    settings = OneGenConfig.from_dict(config["onegen"])
    facts |= {
        "retrieval tokens": " ".join(settings.tokens.all),
        "task": "rag" if settings.tokens.continuation is None else "entity linking",
        "embeddings": f"one per {settings.granularity}, {settings.similarity}, of up to "
        f"{settings.embedded_tokens} tokens",
        "inserted": f"up to {settings.max_inserted_tokens} tokens of a passage"
        + (f", its {settings.inserted_sentences} best sentences" if settings.inserted_sentences else "")
        + (f", read {settings.readings} times" if settings.readings else ""),
        "words": f"count {settings.hybrid} beside embeddings, {settings.fusion}" if settings.hybrid else None,
        "trained on": ", ".join(run.get("datasets") or []) or None,
        "index": settings.default_index,
    }
    beside = current_version(folder / (settings.default_index or "index"))
    if (beside / DESCRIPTION_FILE).is_file():
        facts |= {f"index {name}": value for name, value in describe_index(beside).items()}
    return {name: value for name, value in facts.items() if value is not None}


def describe_index(folder: Path) -> dict[str, Any]:
    """How many passages and vectors there are, how they are searched, and which model made them."""
    description = _read(folder / DESCRIPTION_FILE)
    if not {"passages", "embeddings", "dimension"} <= set(description):
        return {}
    made_by = description.get("fingerprint", {}).get("facts", {})
    words = ", and by words (BM25)" if WORDS_FILE in description.get("files", {}) else ""
    return {
        "passages": description["passages"],
        "vectors": f"{description['embeddings']} of dimension {description['dimension']}, "
        f"one per {description.get('granularity', 'passage')}",
        "search": f"{description.get('factory') or description.get('backend')}{words}",
        "model": description.get("model_id") or made_by.get("model_type"),
        "size": _size([folder / name for name in description.get("files", {})]),
    }


def describe_evaluation(folder: Path) -> dict[str, Any]:
    """The scores, with their confidence intervals."""
    report = _read(folder / "report.json")
    if "results" not in report:  # that of a build of a dataset
        return {}
    facts = {name: report.get(name) for name in ("task", "model", "dataset", "split")}
    for run, result in report["results"].items():
        whole = result.get("all", {})
        facts[f"{run} examples"] = whole.get("examples")
        for metric, value in whole.get("metrics", {}).items():
            facts[f"{run} {metric}"] = f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    return {name: value for name, value in facts.items() if value is not None}


def describe_dataset(folder: Path) -> dict[str, Any]:
    """The configs and splits, with their numbers of rows, of a dataset repository."""
    import pyarrow.parquet as parquet

    _, _, rest = (folder / CARD).read_text(encoding="utf-8").partition("---\n")
    header, mark, _ = rest.partition("\n---")
    try:
        metadata = yaml.safe_load(header) if mark else None
    except yaml.YAMLError as error:
        raise ValueError(f"{folder / CARD}: its YAML can't be read: {error}") from error
    if not isinstance(metadata, dict) or not metadata.get("configs"):
        return {}
    facts: dict[str, Any] = {"license": metadata.get("license")}
    for config in metadata["configs"]:
        for part in config.get("data_files") or ():
            paths = part["path"] if isinstance(part["path"], list) else [part["path"]]
            files = [file for path in paths for file in sorted(folder.glob(path))]
            rows = sum(parquet.read_metadata(file).num_rows for file in files)
            facts[f"{config.get('config_name')}, {part['split']}"] = f"{rows:,} rows, {_size(files)}"
    return {name: value for name, value in facts.items() if value is not None}


def format_facts(facts: Mapping[str, Any]) -> str:
    """The facts in two columns."""
    lines = [f"{facts['kind']} {printable_line(str(facts['folder']))}"]
    width = max(_WIDTH, *(len(name) for name in facts))
    for name, value in facts.items():
        if name not in ("kind", "folder"):
            lines.append(f"  {printable_line(name):<{width}}  {printable_line(str(value))}")
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return content if isinstance(content, dict) else {}


def _size(files: Sequence[Path]) -> str:
    size = sum(file.stat().st_size for file in files if file.is_file())
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
