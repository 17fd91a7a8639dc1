"""`onegen-hf project` on a repository of a few examples, and the checkpoint that it leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from support.evaluation_setup import checkpoint, repository

from onegen_hf import OneGenForCausalLM
from onegen_hf.cli.project import main
from onegen_hf.hub.layout import PROJECTION_FILE
from onegen_hf.modeling.projection import read_projection

pytestmark = pytest.mark.xdist_group("evaluation")


def options(model: Path, *more: str) -> list[str]:
    return ["--model", str(model), "--dataset", str(repository()), "--split", "dev", "--device", "cpu", *more]


def test_the_projection_is_kept_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    shutil.copytree(checkpoint(), model)
    before = (model / "config.json").read_bytes()
    main(options(model))
    assert "Write it into the checkpoint with --save" in capsys.readouterr().out
    assert (model / "config.json").read_bytes() == before and not (model / PROJECTION_FILE).exists()
    main(options(model, "--dim", "16", "--save"))
    shown = capsys.readouterr().out
    assert "recall@1 of" in shown and "build them again" in shown
    assert json.loads((model / "config.json").read_text())["onegen"]["projection_dim"] == 16
    loaded = OneGenForCausalLM.from_pretrained(model)
    torch.testing.assert_close(loaded.retrieval_projection.weight.detach(), read_projection(model, 16, 32))


def test_a_bundled_checkpoint_is_not_written_to() -> None:
    with pytest.raises(ValueError, match="save writes into the checkpoint, but model='builtin' is no directory"):
        main(["--model", "builtin", "--dataset", "x", "--save"])
