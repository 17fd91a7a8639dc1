"""`onegen-hf train --help` reads the source of the options; what it shows is what the command accepts."""

from __future__ import annotations

from argparse import Action
from pathlib import Path

import pytest
from trl import ModelConfig

from onegen_hf.bundled.recipes import recipes
from onegen_hf.cli import train
from onegen_hf.cli.main import main
from onegen_hf.losses import CONTRASTIVE_LOSSES
from onegen_hf.terminal.options import OptionParser
from onegen_hf.training.arguments import OneGenTrainingArguments
from onegen_hf.training.run import DataArguments, FormatArguments, parse

KINDS = (DataArguments, FormatArguments, OneGenTrainingArguments, ModelConfig)


def options(parser: OptionParser | object) -> dict[str, Action]:
    actions: list[Action] = parser._actions  # type: ignore[union-attr]
    return {option: action for action in actions for option in action.option_strings if option.startswith("--")}


def text(option: Action) -> str:
    return (option.help or "").replace("%%", "%")


def values(option: Action) -> list[str]:
    return [str(getattr(choice, "value", choice)) for choice in option.choices or ()]


def test_it_shows_the_options_that_are_parsed() -> None:
    shown, parsed = options(train.parser()), options(OptionParser(KINDS, "program"))
    assert set(shown) == set(parsed)
    for name in sorted(set(shown) - {"--debug"}):  # without a value it is the option of every command
        assert text(shown[name]) == text(parsed[name]), name
        assert shown[name].required == parsed[name].required, name
        if parsed[name].choices is not None:
            assert sorted(values(shown[name])) == sorted(values(parsed[name])), name


def test_the_names_of_the_losses() -> None:
    assert sorted(CONTRASTIVE_LOSSES) == train.LOSSES


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    for part in (
        "--config FILE",
        "objective:",
        "data:",
        "Learning Rate",
        "{bpr,info_nce}",
        "quick_start",
        "--use-cpu",
    ):
        assert part in shown
    assert "[USE_CPU]" not in shown and "true|false" not in shown


def test_a_recipe_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From any folder; a file of the name comes first."""
    monkeypatch.chdir(tmp_path)
    data, formats, arguments, model = parse(["--config", "quick_start", "--output-dir", "here"])
    assert data.dataset == ["data/facts"] and formats.preset == "multi-hop" and arguments.output_dir == "here"
    assert parse(["--config=your_own_data"])[3].model_name_or_path == "builtin"
    (tmp_path / "quick_start").write_text("dataset: [mine]\noutput_dir: out\nuse_cpu: true\n")
    assert parse(["--config", "quick_start"])[0].dataset == ["mine"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("recipes/quick_start.yaml", "--config quick_start"), ("nothing", "one of default_checkpoint_1")],
)
def test_a_recipe_that_is_not_there(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        parse(["--config", name])
    assert stopped.value.code == 2 and hint in capsys.readouterr().err


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_can_be_read(name: str) -> None:
    assert parse(["--config", name, "--use-cpu"])[0].dataset
