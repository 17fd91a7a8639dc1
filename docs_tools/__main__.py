"""
`python -m docs_tools [PAGE ...]`: writes the tables and the outputs in pages and notebooks anew.

Without pages, all of docs/ and examples/notebooks/. `--tables` leaves the outputs alone, which takes seconds instead
of minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat

from .notebooks import FOLDER, executed
from .pages import ROOT, read_blocks, run_blocks, with_outputs


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m docs_tools", description=__doc__.split("\n\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, help="Markdown files and notebooks; default: all")
    parser.add_argument("--tables", action="store_true", help="write the tables only")
    options = parser.parse_args()
    for page in options.pages or [*sorted((ROOT / "docs").rglob("*.md")), *sorted(FOLDER.glob("*.ipynb"))]:
        before = page.read_bytes()
        if page.suffix == ".ipynb":
            if not options.tables:
                nbformat.write(executed(page), page)
        else:
            update_page(page, outputs=not options.tables)
        if page.read_bytes() != before:
            sys.stdout.write(f"{page}\n")
            sys.stdout.flush()


def update_page(page: Path, outputs: bool) -> None:
    """Write the tables of a page, and if asked for the outputs of its blocks."""
    from .tables import with_tables  # it imports the whole package, which notebooks do in their own process

    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
    blocks = read_blocks(page)
    if outputs and any(block.output_lines for block in blocks):
        with tempfile.TemporaryDirectory() as directory:
            printed = run_blocks(blocks, Path(directory))
        page.write_text(with_outputs(page, blocks, printed), encoding="utf-8")


if __name__ == "__main__":
    main()
