"""`onegen-hf push`: its arguments, the dry run, and merging on request."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.tiny_models import tiny_model

from onegen_hf.cli.main import main
from onegen_hf.hub.commit import Upload


@pytest.fixture
def saved(tokenizer: Any, tmp_path: Path) -> Path:
    tiny_model(tokenizer).save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_dry_run_shows_and_sends_nothing(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Upload, "push", lambda *args: pytest.fail("pushed"))
    main(["push", "model", str(saved), "org/name", "--dry-run", "--dataset", "org/data"])
    text = capsys.readouterr().out
    assert text.startswith("model org/name\n") and "model.safetensors" in text and "Data: `org/data`" in text
    assert "Nothing was pushed" in text
    assert not (saved / "README.md").exists()


@pytest.mark.parametrize(("flags", "expected"), [(["--private"], True), ([], None)])
def test_private(saved: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], expected: bool | None) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(
        Upload, "push", lambda upload, *options: sent.append(options) or SimpleNamespace(commit_url="a-commit")
    )
    main(["push", "model", str(saved), "org/name", "--revision", "trial", "--commit-message", "First", *flags])
    assert sent == [(expected, "trial", "First")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "somewhere"], "give what to push"),
        (["--dry-run", "model", "somewhere", "org/name"], "give what to push"),
        (["tokenizer", "somewhere", "org/name"], "'tokenizer' can't be pushed"),
        (["model", "no-such-folder", "org/name"], "config.json is missing"),
        (["index", "no-such-folder", "org/name"], "index.json is missing"),
        (["dataset", "no-such-folder", "org/name"], "README.md is missing"),
        (["index", "somewhere", "org/name", "--merge"], "--merge is for a model"),
        (["model", "no-such-folder", "org/name", "--merge"], "holds no adapter"),
        (["model", "no-such-folder", "not a repo!!", "--dry-run"], "repository 'not a repo!!' is not a valid name"),
        (["model", "no-such-folder", "a/b/c", "--dry-run"], "repository 'a/b/c' is not a valid name"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["push", *arguments])
    shown = stopped.value.code if isinstance(stopped.value.code, str) else capsys.readouterr().err
    assert re.search(message, shown) and shown.strip().count("\n") == 0
