"""`onegen-hf train`: hands over to the training, and shows its options without importing torch."""

from __future__ import annotations

import importlib.util
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..bundled.recipes import recipe_folder, recipes
from ..presets import PRESET_CHOICES
from ..terminal.options import OptionHelp, add_general_options, tidy
from .source_options import SourceOption, enumerations, options_of

PROGRAM = "onegen-hf train"
DESCRIPTION = "Train a model to generate and retrieve. Options may come from a recipe, --config."
LOSSES = ["bpr", "info_nce"]
"""The names in [`~onegen_hf.losses.CONTRASTIVE_LOSSES`], which cannot be read before torch is imported."""
LOG_LEVELS = ["debug", "detail", "info", "warning", "error", "critical", "passive"]
_KNOWN = {"PRESET_CHOICES": PRESET_CHOICES, "sorted(CONTRASTIVE_LOSSES)": LOSSES}
_OURS = Path(__file__).resolve().parents[1] / "training"


def parser() -> ArgumentParser:
    """
    The options of the command, in groups, for its help and for completion.

    Importing `TrainingArguments` and trl's `ModelConfig` takes ten seconds, so their source is read instead. The
    arguments themselves are parsed by [`~onegen_hf.training.run.parse`], which accepts the same options.
    """
    made = ArgumentParser(
        PROGRAM,
        usage=f"{PROGRAM} --config RECIPE [options]",
        description=DESCRIPTION,
        epilog=f"Recipes in this package: {', '.join(recipes())} (in {recipe_folder()}).",
        formatter_class=OptionHelp,
    )
    add_general_options(made)
    transformers, trl = _package("transformers"), _package("trl")
    enums = enumerations(transformers / "trainer_utils.py", transformers / "training_args.py")
    enums["trainer_log_levels.keys()"] = LOG_LEVELS
    parts = [
        ("data", options_of(_OURS / "run.py", "DataArguments", _KNOWN)),
        ("tokens and formats", options_of(_OURS / "run.py", "FormatArguments", _KNOWN)),
        ("objective", options_of(_OURS / "arguments.py", "OneGenTrainingArguments", _KNOWN)),
        ("model and adapter", options_of(trl / "trainer/model_config.py", "ModelConfig", enums)),
        ("training", options_of(transformers / "training_args.py", "TrainingArguments", enums)),
    ]
    groups: dict[str, Any] = {}
    names: set[str] = set()
    for title, options in parts:
        for option in options:
            if option.name in names:  # ours come first, with their own defaults
                continue
            names.add(option.name)
            heading = option.section or title
            group = groups.get(heading) or groups.setdefault(heading, made.add_argument_group(heading))
            _add(group, option)
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        parser().print_help()
        raise SystemExit(0)
    from ..training.run import main as run

    run(arguments)


def _package(name: str) -> Path:
    """The folder of a package, which is not imported."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def _add(group: Any, option: SourceOption) -> None:
    flag = f"--{option.name.replace('_', '-')}"
    if flag in group._option_string_actions:  # --debug, which shows tracebacks if it has no value
        return
    text = (option.help or "").replace("%%", "%").replace("%", "%%")
    settings: dict[str, Any] = {"default": option.default, "help": text, "dest": option.name}
    if option.kind is bool:
        settings |= {"nargs": "?", "const": True}
    else:
        settings |= {"type": option.kind, "choices": option.choices, "required": option.required}
        settings |= {"nargs": "+"} if option.is_list else {}
    tidy(group.add_argument(flag, **settings))
    if option.kind is bool and option.default is True:
        group.add_argument(f"--no-{flag[2:]}", action="store_true", default=SUPPRESS, help=f"Turn off {flag}.")
