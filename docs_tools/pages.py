"""
Pages whose code blocks run.

A page is read top to bottom as a notebook: blocks of Python share one kernel, blocks of shell run in the same folder.
A `text` block right after one of them is its output, in which `...` stands for anything. Comments, which no reader
sees, say what else there is to know:

- `<!-- fails -->`: the next block ends in an error, which is its output.
- `<!-- not run: REASON -->`: the next block cannot run here.
- `<!-- setup` to `-->`: Python that prepares what the page takes for granted.
- `<!-- server: 8000 -->`: the next block starts a server at this port, which answers while the page is read. It really
  takes a free port, in all blocks of the page.
"""

from __future__ import annotations

import doctest
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from markdown_it import MarkdownIt
from nbclient import NotebookClient

from .servers import running_servers, with_ports

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 1800
"""Seconds for one block."""
_NUMBER = re.compile(r"\d+\.\d+")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Block:
    """
    A code block of a page.

    Attributes:
        language (`str`): `python`, `bash`, or `setup` for hidden Python.
        code (`str`)
        line (`int`): Where it starts, from 1.
        fails (`bool`): Whether it ends in an error.
        not_run (`str`, *optional*): Why it cannot run.
        server (`str`, *optional*): The port at which it starts a server.
        output (`str`, *optional*): What the page prints as its output.
        output_lines (`tuple[int, int]`, *optional*): The lines of that output, fences excluded, from 0.
    """

    language: str
    code: str
    line: int
    fails: bool = False
    not_run: str | None = None
    server: str | None = None
    output: str | None = None
    output_lines: tuple[int, int] | None = None


def read_blocks(page: Path) -> list[Block]:
    """The blocks of a page that run, and those that say why they do not."""
    blocks: list[Block] = []
    fails, not_run, server, previous_end = False, None, None, None
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        start, end = token.map or (0, 0)
        if token.type == "html_block":
            comment = token.content.strip().removeprefix("<!--").removesuffix("-->").strip()
            if comment.startswith("setup\n"):
                blocks.append(Block("setup", comment.removeprefix("setup\n"), start + 1))
            fails = comment == "fails"
            not_run = comment.removeprefix("not run:").strip() if comment.startswith("not run:") else None
            server = comment.removeprefix("server:").strip() if comment.startswith("server:") else None
        elif token.type == "fence" and token.info in ("python", "bash"):
            blocks.append(Block(token.info, token.content, start + 1, fails, not_run, server))
            fails, not_run, server, previous_end = False, None, None, end
        elif token.type == "fence" and token.info == "text" and blocks and previous_end in (start, start - 1):
            blocks[-1].output, blocks[-1].output_lines = token.content, (start + 1, end - 1)
    return blocks


def run_blocks(blocks: Sequence[Block], directory: Path) -> list[str]:
    """
    Run the blocks of a page.

    Args:
        blocks (`Sequence[Block]`): Of one page, in order.
        directory (`Path`): An empty folder to run in. It receives links to the folders of the repository, so that a
            block finds what a reader finds in a checkout.

    Returns:
        `list[str]`: The output of each block; empty for one that is not run.

    Raises:
        `nbclient.exceptions.CellExecutionError`: If a block ends in an error that the page does not announce.
    """
    link_repository(directory)
    with running_servers([block for block in blocks if block.server], directory, page_environment()) as ports:
        ran = [block for block in blocks if not block.not_run and not block.server]
        cells = [nbformat.v4.new_code_cell(with_ports(_cell(block), ports)) for block in ran]
        notebook = nbformat.v4.new_notebook(cells=cells)
        for block, cell in zip(ran, cells, strict=True):
            if block.fails:
                cell.metadata["tags"] = ["raises-exception"]
        run_notebook(notebook, directory)
    outputs = {block.line: _output(block, cell) for block, cell in zip(ran, notebook.cells, strict=True)}
    return [outputs.get(block.line, "") for block in blocks]


def run_notebook(notebook: Any, directory: Path) -> None:
    """Run all cells of a notebook in a folder, with this repository's code and without network."""
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(directory)}},
        startup_timeout=300,
    )
    client.execute(env=page_environment())


def page_environment() -> dict[str, str]:
    """Of everything that a page starts."""
    binaries = os.path.dirname(sys.executable)
    return {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "NO_COLOR": "1",
        "COLUMNS": "110",
    }


def link_repository(directory: Path) -> None:
    """Let a folder look like a checkout of the repository without results of earlier runs."""
    for path in ROOT.iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.name not in ("data", "outputs", "runs", "site"):
            (directory / path.name).symlink_to(path)


def same_output(expected: str, actual: str) -> bool:
    """
    Whether an output is what the page prints: `...` stands for anything, white space does not count, and numbers with
    a fraction may differ by two in their last digit, since processors round differently.
    """
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    expected_numbers, actual_numbers = _NUMBER.findall(expected), _NUMBER.findall(actual)
    if "..." not in expected and len(expected_numbers) == len(actual_numbers):
        close = all(_close(*pair) for pair in zip(expected_numbers, actual_numbers, strict=True))
        expected, actual = _NUMBER.sub("0.0", expected), _NUMBER.sub("0.0", actual)
        if not close:
            return False
    return doctest.OutputChecker().check_output(_spaced(expected), _spaced(actual), flags)


def with_outputs(page: Path, blocks: Sequence[Block], outputs: Sequence[str]) -> str:
    """The text of a page with the outputs of its blocks; one that still holds, with its `...`, stays."""
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    for block, output in reversed(list(zip(blocks, outputs, strict=True))):
        if block.output_lines is not None and not block.not_run and not same_output(block.output or "", output):
            first, last = block.output_lines
            lines[first:last] = [output if output.endswith("\n") else f"{output}\n"]
    return "".join(lines)


def _cell(block: Block) -> str:
    return f"%%bash\nset -e\n{block.code}" if block.language == "bash" else block.code


def _output(block: Block, cell: Any) -> str:
    """What a reader sees: standard output and the last value, or the error."""
    parts = []
    streams = {"stdout", "stderr"} if block.fails and block.language == "bash" else {"stdout"}
    for output in cell.outputs:
        if output.output_type == "stream" and output.name in streams:
            parts.append(output.text)
        elif output.output_type == "execute_result":
            parts.append(output.data["text/plain"] + "\n")
        elif output.output_type == "error" and block.language == "python":
            parts.append(f"{output.ename}: {output.evalue}\n")
    return _COLOUR.sub("", "".join(parts)).rstrip() + "\n"


def _close(expected: str, actual: str) -> bool:
    unit = 10.0 ** -len(expected.partition(".")[2])
    return abs(float(expected) - float(actual)) <= 2.01 * unit


def _spaced(text: str) -> str:
    """Blank lines would end an expected output of doctest; white space does not count anyway."""
    return "\n".join(line for line in text.splitlines() if line.strip()) + "\n"
