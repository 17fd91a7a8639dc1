"""The notebooks of examples/notebooks: run, kept small, and shown as pages of the site."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nbformat

from .pages import ROOT, link_repository, run_notebook

FOLDER = ROOT / "examples" / "notebooks"
TITLES = {
    "first_steps": "First steps",
    "your_passages": "Your own passages",
    "train_and_evaluate": "Train and evaluate",
    "link_entities": "Link entities",
    "look_inside": "Look inside",
}
"""Name → title, in the order in which to read them."""
TEXT, IMAGE, STREAM = "text/plain", "image/png", "stream"


def executed(path: Path) -> Any:
    """
    Run a notebook in an empty folder.

    Args:
        path (`Path`): It is not written.

    Returns:
        `nbformat.NotebookNode`: With outputs as they are kept: text and pictures, neither warnings nor progress.

    Raises:
        `nbclient.exceptions.CellExecutionError`: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as directory:
        link_repository(Path(directory))
        run_notebook(notebook, Path(directory))
    return tidied(notebook, path.stem)


def tidied(notebook: Any, name: str) -> Any:
    """A notebook without what differs from run to run: times, warnings, progress, the pieces of printed text."""
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{name}-{number}"
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = _joined([_kept(output) for output in cell.outputs if _is_shown(output)])
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def as_markdown(path: Path) -> str:
    """A notebook as a page: its text, its code, and its outputs below."""
    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if IMAGE in data:
                parts.append(f"![output](data:image/png;base64,{''.join(data[IMAGE].split())})")
            else:
                parts.append(f"```text\n{(output.get('text') or data.get(TEXT, '')).rstrip()}\n```")
    return "\n\n".join([*parts, f"*This page is the notebook [{path.name}]({path.name}).*"]) + "\n"


def _is_shown(output: Any) -> bool:
    if output.output_type == STREAM:
        return bool(output.name == "stdout")
    return output.output_type in ("execute_result", "display_data")


def _joined(outputs: list[Any]) -> list[Any]:
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == STREAM:
            joined[-1]["text"] += output.text
        else:
            joined.append(output)
    return joined


def _kept(output: Any) -> Any:
    if output.output_type != STREAM:
        kind = IMAGE if IMAGE in output.data else TEXT
        output["data"] = {kind: output.data[kind]}
        output["metadata"] = {}
    return output
