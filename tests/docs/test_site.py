"""The site: it builds without a warning and without network, and every public name has a page."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("site")  # built once, on one worker

ROOT = Path(__file__).resolve().parents[2]
INTERNAL = {"checks", "importing", "memory"}
"""Rooms whose `__all__` is for the package itself."""
ROOMS = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / "onegen_hf").rglob("__init__.py")
    if "__all__" in path.read_text(encoding="utf-8") and path.parent.name not in INTERNAL
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning fails the build (`strict` in mkdocs.yml)."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(directory)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "WARNING" not in result.stderr, result.stderr
    return directory


def names_with_an_anchor(site: Path) -> set[str]:
    """The names in the inventory (https://sphobjinv.readthedocs.io/en/stable/syntax.html), aliases among them."""
    compressed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split()[0] for line in zlib.decompress(compressed).decode().splitlines()}


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_a_page(site: Path, room: str) -> None:
    missing = {f"{room}.{name}" for name in exported(room)} - names_with_an_anchor(site)
    # A name that a room hands on from another one is on the page of the other.
    documented = {id(value) for name in names_with_an_anchor(site) if (value := _lookup(name)) is not None}
    missing = {name for name in missing if id(_lookup(name)) not in documented}
    assert not missing, f"add `::: {room}`, or these names, to a page of docs/reference: {sorted(missing)}"


def exported(room: str) -> list[str]:
    """The `__all__` of a package, read and not imported: some need an extra."""
    tree = ast.parse((ROOT.joinpath(*room.split(".")) / "__init__.py").read_text(encoding="utf-8"))
    (names,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return list(names)


def _lookup(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError:  # a member of a class
        return None


class _Loads(HTMLParser):
    """Collects what a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(values.get("src") or "")
        elif tag == "link" and values.get("rel") != "canonical":
            self.addresses.append(values.get("href") or "")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.addresses
        assert not [address for address in loads.addresses if re.match(r"(https?:)?//", address)], page
    for sheet in [*site.rglob("*.css"), *site.rglob("*.svg")]:
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", text), sheet


def test_llms_txt_lists_every_page(site: Path) -> None:
    listed = set(re.findall(r"\]\(([^)]+\.md)\)", (site / "llms.txt").read_text(encoding="utf-8")))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert pages <= listed
    assert all((site / name).is_file() for name in listed)


def test_formulas_need_no_script(site: Path) -> None:
    page = (site / "reference" / "losses.html").read_text(encoding="utf-8")
    assert "<math" in page and "arithmatex" not in page


def test_types_and_references_of_docstrings_are_read(site: Path) -> None:
    """The style of Hugging Face: `name (`type`, *optional*)`, and references such as [`BPRLoss`]."""
    for page in (site / "reference").glob("*.html"):
        text = re.sub(r"<(pre|code).*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "*optional*" not in text and not re.search(r"\[\s*<code>", text), page
    losses = (site / "reference" / "losses.html").read_text(encoding="utf-8")
    assert re.search(r'href="#onegen_hf\.losses\.(bpr\.)?BPRLoss"[^>]*><code>BPRLoss</code>', losses)
