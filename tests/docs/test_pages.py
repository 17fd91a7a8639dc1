"""Every code block of docs/ runs, with the output that the page prints."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from docs_tools.pages import Block, read_blocks, run_blocks, same_output, with_outputs

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
RUNNING = [pytest.param(page, id=page.stem) for page in PAGES if any(not block.not_run for block in read_blocks(page))]
OURS = ("onegen_hf", "data_builders", "benchmarks", "experiments")


def fences(page: Path) -> list[tuple[str, str]]:
    """Language and content of every fence, those in lists too."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [(token.info, token.content) for token in tokens if token.type == "fence"]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING)
def test_a_page_runs(page: Path, tmp_path: Path) -> None:
    blocks = read_blocks(page)
    for block, output in zip(blocks, run_blocks(blocks, tmp_path), strict=True):
        if block.output is not None and not block.not_run:
            where = f"{page.name}:{block.line}"
            assert same_output(block.output, output), f"{where}: run `python -m docs_tools {page}`\n{output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_are_valid(page: Path) -> None:
    """What can be seen without running anything, of blocks that are not run as well."""
    assert {language for language, _ in fences(page)} <= {"python", "bash", "text", "json", "yaml"}
    assert all(block.not_run is None or len(block.not_run) > 5 for block in read_blocks(page))
    assert not [
        block.output for block in read_blocks(page) if re.search(r"/(home|root|tmp|Users)/", block.output or "")
    ]
    for language, code in fences(page):
        if language == "python":
            check_imports(ast.parse(code))
        elif language == "bash":
            assert subprocess.run(["bash", "-n", "-c", code], capture_output=True).stderr == b""
        elif language == "json":
            json.loads(code)
        elif language == "yaml":
            yaml.safe_load(code)


def check_imports(tree: ast.AST) -> None:
    """Every name that is imported from this repository exists."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            try:
                module = importlib.import_module(str(node.module))
            except ImportError as error:  # of an extra that is not installed: the names are those in its text
                assert "pip install 'onegen-hf[" in str(error), error
                text = ROOT.joinpath(*str(node.module).split(".")).with_suffix(".py").read_text(encoding="utf-8")
                assert all(f"class {name.name}(" in text or f"def {name.name}(" in text for name in node.names)
                continue
            # Names of an extra that is not installed are listed, but cannot be had.
            assert not [
                name.name for name in node.names if name.name not in dir(module) and not hasattr(module, name.name)
            ]


def test_a_block_is_read_with_its_output_and_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- setup\nx = 1\n-->\n\n```python\nx\n```\n\n```text\nold\n```\n\n<!-- fails -->\n```bash\nexit 3\n```\n\n"
        "```text\n```\n\nText.\n\n```text\nno output\n```\n\n<!-- not run: needs a GPU -->\n```python\ny\n```\n"
    )
    setup, value, failing, other = read_blocks(page)
    assert (setup.language, setup.code) == ("setup", "x = 1")
    assert (value.code, value.output, value.fails) == ("x\n", "old\n", False)
    assert failing.fails and failing.output == "" and failing.language == "bash"
    assert other.not_run == "needs a GPU" and other.output is None
    written = with_outputs(page, [setup, value, failing, other], ["", "1", "oh\nno", "never"])
    assert "```text\n1\n```" in written and "```text\noh\nno\n```" in written and "never" not in written
    assert "no output" in written


def test_blocks_share_names_and_a_folder(tmp_path: Path) -> None:
    blocks = [
        Block("setup", "import os\nname = 'note.txt'", 1),
        Block("bash", "pwd > note.txt; echo done; echo noise >&2", 2),
        Block("python", "print(open(name).read().strip() == os.getcwd())\n[name]", 3),
        Block("python", "1 / 0", 4, not_run="divides by zero"),
        Block("python", "1 / 0", 5, fails=True),
        Block("bash", "echo because >&2; exit 2", 6, fails=True),
    ]
    outputs = run_blocks(blocks, tmp_path)
    assert outputs == [
        "\n",
        "done\n",
        "True\n['note.txt']\n",
        "",
        "ZeroDivisionError: division by zero\n",
        "because\n",
    ]
    assert (tmp_path / "recipes").is_symlink()


def test_an_error_that_is_not_announced_fails(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="division by zero"):
        run_blocks([Block("python", "1 / 0", 1)], tmp_path)


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("0.679  Titanic\n", "0.680  Titanic\n", True),
        ("0.679  Titanic\n", "0.684  Titanic\n", False),
        ("0.679  Titanic\n", "0.679  Alien\n", False),
        ("{'loss': 3.2, ...}\n", "{'loss': 3.2, 'epoch': 1}\n", True),
        ("a\n\n b\n", "a\nb\n", True),
        ("28 steps\n", "29 steps\n", False),
        ("1.0 2.0\n", "1.0\n", False),
    ],
)
def test_what_counts_as_the_same_output(expected: str, actual: str, same: bool) -> None:
    assert same_output(expected, actual) is same


def test_a_server_answers_while_the_page_is_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- server: 8000 -->\n```bash\necho before\nWORD=hello python -m http.server 8000 --bind 127.0.0.1\n```\n\n"
        "```python\nimport urllib.request\n\nurllib.request.urlopen('http://127.0.0.1:8000/').status\n```\n\n"
        "```text\n200\n```\n\n```bash\nls server-*.log | wc -l\n```\n"
    )
    blocks = read_blocks(page)
    assert [block.server for block in blocks] == ["8000", None, None]
    folder = tmp_path / "run"
    folder.mkdir()
    assert [output.strip() for output in run_blocks(blocks, folder)] == ["", "200", "1"]
    again = tmp_path / "again"
    again.mkdir()
    blocks[0].code = "false"
    with pytest.raises(RuntimeError, match="false: it does not listen"):
        run_blocks(blocks[:1], again)
