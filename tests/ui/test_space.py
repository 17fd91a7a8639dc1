"""`examples/space` is a folder that can be copied into a Space."""

from __future__ import annotations

import ast
import copy
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from support.decoding_setup import Setup

from onegen_hf.importing.extras import is_package_available

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "examples" / "space"


def front_matter() -> dict[str, Any]:
    return yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_the_front_matter() -> None:
    header = front_matter()
    assert header["sdk"] == "gradio" and (SPACE / header["app_file"]).is_file()
    assert {"title", "emoji", "colorFrom", "colorTo", "license"} <= set(header)
    assert len(header["short_description"]) <= 60  # the Hub's limit


def test_versions_agree_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (gradio,) = (Requirement(line) for line in project["optional-dependencies"]["ui"])
    assert gradio.name == "gradio" and gradio.specifier.contains(front_matter()["sdk_version"])
    assert Requirement(project["name"] + project["requires-python"]).specifier.contains(
        front_matter()["python_version"]
    )
    assert (SPACE / "requirements.txt").read_text(encoding="utf-8") == f"{project['name']}[ui]\n"


def test_the_header_says_how_to_run_it() -> None:
    source = (SPACE / "app.py").read_text(encoding="utf-8")
    assert "python examples/space/app.py" in (ast.get_docstring(ast.parse(source)) or "")


@pytest.mark.skipif(not is_package_available("gradio"), reason="gradio is not installed (the extra ui)")
def test_it_makes_an_app(llama: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the checkpoint that a variable names; no server is started, and no linker loaded."""
    llama.model.save_pretrained(tmp_path)
    copy.deepcopy(llama.tokenizer).save_pretrained(tmp_path)
    llama.index.save(tmp_path / "index")
    monkeypatch.setenv("MODEL", str(tmp_path))
    monkeypatch.setenv("INDEX", str(tmp_path / "index"))
    app = runpy.run_path(str(SPACE / "app.py"))["app"]
    labels = [block.label for block in app.blocks.values() if type(block).__name__ == "Tab"]
    assert labels == ["Ask", "Chat", "Compare", "Passages", "Your texts", "Entities"]
