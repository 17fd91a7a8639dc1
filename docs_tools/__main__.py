"""
`python -m docs_tools [PAGE ...]`: writes the tables and the outputs in the pages anew.

Without pages, all of docs/. `--tables` leaves the outputs alone, which takes seconds instead of minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .pages import ROOT, read_blocks, run_blocks, with_outputs
from .tables import with_tables


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m docs_tools", description=__doc__.split("\n\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, help="Markdown files; default: all of docs/")
    parser.add_argument("--tables", action="store_true", help="write the tables only")
    options = parser.parse_args()
    for page in options.pages or sorted((ROOT / "docs").rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        page.write_text(with_tables(before), encoding="utf-8")
        blocks = read_blocks(page)
        if not options.tables and any(block.output_lines for block in blocks):
            with tempfile.TemporaryDirectory() as directory:
                outputs = run_blocks(blocks, Path(directory))
            page.write_text(with_outputs(page, blocks, outputs), encoding="utf-8")
        if page.read_text(encoding="utf-8") != before:
            sys.stdout.write(f"{page}\n")


if __name__ == "__main__":
    main()
