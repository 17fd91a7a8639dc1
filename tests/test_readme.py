"""Python of the README that other tests do not run as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from support.tiny_models import tiny_backbone

README = Path(__file__).parents[1] / "README.md"
BACKBONE = '"HuggingFaceTB/SmolLM2-135M-Instruct"'


def snippet(word: str) -> str:
    """The only block of Python that holds a word."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if word in block]
    return found


def test_training(
    fresh_tokenizer: Any, documents: Any, examples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its placeholders filled, and a tiny backbone."""
    code = snippet("OneGenTrainer(")
    assert BACKBONE in code
    tiny_backbone().save_pretrained(tmp_path / "backbone")
    fresh_tokenizer.save_pretrained(tmp_path / "backbone")
    monkeypatch.chdir(tmp_path)
    names = {"tokenizer": fresh_tokenizer, "documents": documents, "examples": Dataset.from_list(examples)}
    exec(compile(code.replace(BACKBONE, repr(str(tmp_path / "backbone"))), str(README), "exec"), names)
    history = names["trainer"].state.log_history
    assert history[-1]["train_loss"] > 0 and (tmp_path / "my-onegen").is_dir()
