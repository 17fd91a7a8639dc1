"""One vocabulary of options: the same names in every command, and the old ones with a warning."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from trl import ModelConfig

from onegen_hf import OneGenTrainingArguments
from onegen_hf.cli.ask import AskArguments
from onegen_hf.cli.build import BuildArguments, FactsArguments
from onegen_hf.cli.calibrate_arguments import CalibrateArguments
from onegen_hf.cli.demo import DemoArguments
from onegen_hf.cli.evaluate_arguments import EvaluateArguments
from onegen_hf.cli.index import IndexArguments
from onegen_hf.cli.link import LinkArguments
from onegen_hf.cli.linking_arguments import LinkingArguments
from onegen_hf.cli.project import ProjectArguments
from onegen_hf.cli.push import PushArguments
from onegen_hf.cli.rules import RETRIEVAL_MODES
from onegen_hf.cli.search import SearchArguments
from onegen_hf.generation.policy import POLICIES
from onegen_hf.terminal.options import OptionParser
from onegen_hf.training.run import DataArguments, FormatArguments, parse

KINDS = [
    AskArguments, BuildArguments, CalibrateArguments, DataArguments, DemoArguments, EvaluateArguments, FactsArguments,
    FormatArguments, IndexArguments, LinkArguments, LinkingArguments, ProjectArguments, PushArguments,
    SearchArguments,
]  # fmt: skip
LEFT_BEHIND = {"tokens", "k", "corpus", "data", "datasets", "out", "documents", "threshold", "level"}
NEEDED = {"output_dir", "dataset", "passages", "examples"}


def value_of(name: str) -> str:
    return {"preset": "multi-hop", "confidence_level": "0.5", "nil_threshold": "0.5"}.get(name, "3")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_option_has_an_old_name(kind: type[Any]) -> None:
    assert not LEFT_BEHIND & {option.name for option in fields(kind)}
    assert all(option.metadata.get("help", "").endswith(".") for option in fields(kind))


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [(kind, old, new) for kind in KINDS for old, new in kind.renamed.items()],  # type: ignore[attr-defined]
    ids=lambda value: getattr(value, "__name__", value),
)
def test_old_names_keep_working(kind: type[Any], old: str, new: str) -> None:
    required = [option.name for option in fields(kind) if option.name in NEEDED and option.name != new]
    arguments = [part for name in required for part in (f"--{name.replace('_', '-')}", "x")]
    parser = OptionParser(kind, "program")
    (expected,) = parser.parse([*arguments, f"--{new.replace('_', '-')}", value_of(new)])
    with pytest.warns(FutureWarning, match=f"--{old} is now called --{new.replace('_', '-')}"):
        assert parser.parse([*arguments, f"--{old}", value_of(new)]) == (expected,)


def test_train_takes_the_same_name_for_the_model() -> None:
    _, _, _, model = parse(["--dataset", "x", "--model", "org/name", "--output-dir", "out", "--use-cpu"])
    assert model.model_name_or_path == "org/name"


TRAINING = (DataArguments, FormatArguments, OneGenTrainingArguments, ModelConfig)


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), TRAINING], ids=lambda kinds: kinds[0].__name__)
def test_help_shows_options_with_hyphens(kinds: tuple[type[Any], ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        OptionParser(kinds, "program").parse(["--help"])
    options = [word for line in capsys.readouterr().out.splitlines() for word in line.split()[:1] if word[:2] == "--"]
    assert options and not [option for option in options if "_" in option]


def test_the_command_line_offers_every_retrieval_mode() -> None:
    assert sorted(RETRIEVAL_MODES) == sorted(POLICIES)
