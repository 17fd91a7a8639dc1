"""The tables of the pages are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs_tools.commands import parser_of
from docs_tools.tables import TABLES, with_tables

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page for page in (ROOT / "docs").rglob("*.md") if "<!-- table: " in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run `python -m docs_tools --tables`"


def test_every_table_is_on_a_page() -> None:
    shown = {name for page in PAGES for name in re.findall(r"<!-- table: (\w+)", page.read_text(encoding="utf-8"))}
    assert shown == set(TABLES)


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(ValueError, match="no table 'prices': choose one of public_names"):
        with_tables("<!-- table: prices -->\n<!-- end of table -->")


def test_a_table_is_replaced() -> None:
    stale = "# Page\n\n<!-- table: losses -->\n| old |\n<!-- end of table -->\n\nText.\n"
    text = with_tables(stale)
    assert "| old |" not in text and "`info_nce`" in text and text.endswith("<!-- end of table -->\n\nText.\n")


def test_reading_the_options_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    parser = parser_of(["ask", "--help"])
    assert parser is not None and "--top-k" in parser._option_string_actions
    assert parser_of(["no-such-command"]) is None
    assert capsys.readouterr().out == ""
