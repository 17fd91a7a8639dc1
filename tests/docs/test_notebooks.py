"""The notebooks run on the bundled models, and are kept small and free of what belongs to one machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from docs_tools.notebooks import FOLDER, TITLES, as_markdown, executed, tidied

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 100_000
"""Bytes of a notebook with its outputs."""


def outputs(notebook: Any) -> list[str]:
    """Kind of each output."""
    return [output.output_type for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path) -> None:
    """With outputs of the same kinds as those that are kept. Their words are the models', which may be replaced."""
    assert outputs(executed(path)) == outputs(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_tidy(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    text = path.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    assert outputs(notebook) and "error" not in outputs(notebook), "run `python -m docs_tools` on it"
    assert '"stderr"' not in text and not re.search(r"/(home|root|tmp|Users)/", text)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_the_list_is_complete() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(TITLES)


def test_what_differs_from_run_to_run_is_not_kept() -> None:
    cell = nbformat.v4.new_code_cell("x", metadata={"execution": {"started": "now"}})
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="one "),
        nbformat.v4.new_output("stream", name="stderr", text="Loading: 100%"),
        nbformat.v4.new_output("stream", name="stdout", text="two\n"),
        nbformat.v4.new_output("execute_result", data={"text/plain": "3", "text/html": "<b>3</b>"}),
    ]
    notebook = tidied(nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "mine"}}), "small")
    (kept,) = notebook.cells
    assert [output.get("text") or output.data for output in kept.outputs] == ["one two\n", {"text/plain": "3"}]
    assert kept.metadata == {} and kept["id"] == "small-0" and notebook.metadata.language_info.name == "python"


def test_a_notebook_as_a_page(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("x")
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="printed\n"),
        nbformat.v4.new_output("execute_result", data={"text/plain": "'value'"}),
        nbformat.v4.new_output("display_data", data={"image/png": "AAAA\n", "text/plain": "<Figure>"}),
    ]
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Small\n\nText."), cell]), path)
    page = as_markdown(path)
    assert page.startswith("# Small\n\nText.\n\n```python\nx\n```\n\n```text\nprinted\n```\n\n```text\n'value'\n```")
    assert "(data:image/png;base64,AAAA)" in page and "<Figure>" not in page and "(small.ipynb)" in page
