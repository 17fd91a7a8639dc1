"""`write_page`: where the option `--html` of a command goes."""

from __future__ import annotations

import sys
from pathlib import Path

from ..files import write_text_atomically


def write_page(name: str, page: str) -> None:
    """
    Write a page and say where it is, on standard error: standard output belongs to the results.

    Args:
        name (`str`): File; its folder is made if it is missing.
        page (`str`): HTML.
    """
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, page)
    print(f"The page is in {path}", file=sys.stderr)
