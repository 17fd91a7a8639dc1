"""The page is valid and escaped and stands alone; the terminal gets nothing that steers it."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_hf.linking.display import format_mentions, mention_page, wants_color

ADA: dict[str, Any] = {
    "mention": "Ada",
    "start": 3,
    "end": 6,
    "entity_id": "Q1",
    "name": "Ada Moll",
    "score": 0.25,
    "candidates": [
        {"entity_id": "Q1", "name": "Ada Moll", "score": 0.25},
        {"entity_id": "Q2", "name": "Ada <b>Oak</b>", "score": -0.5},
    ],
}
NIL = {**ADA, "entity_id": "NIL", "name": ""}


class Page(HTMLParser):
    """Checks that elements are closed in order, and keeps what is in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.described: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        values = dict(attrs)
        assert not {"src", "href", "onclick", "onload"} & set(values)
        if tag != "meta":
            self.open.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.described += [values["aria-describedby"]] if "aria-describedby" in values else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = {"sub", "meter", "title", "h1", "p", "style"} & set(self.open)
        if not inside and "text" not in self.open and self.open.count("span") < 2 and "div" in self.open:
            self.text += data


def test_page() -> None:
    page = mention_page([("So Ada.", [ADA]), ("So Ada\x00 & <i>.", [NIL]), ("", [])], title="A & B")
    read = Page(page)
    assert read.open == []
    assert read.text == "So Ada.So Ada\ufffd & <i>."
    assert read.ids == read.described == ["m0-0", "m1-0"]
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>A &amp; B</title>" in page
    assert "Texts: 3. Mentions: 2, without an entity: 1." in page
    assert "Ada &lt;b&gt;Oak&lt;/b&gt;" in page
    assert 'value="0.000">-0.500</meter> -0.500' in page
    assert page.count('class="mention nil"') == 1
    assert "http" not in page and "url(" not in page and "@import" not in page


def test_page_is_well_formed() -> None:
    page = mention_page([("So Ada.", [ADA]), ("<script>alert(1)</script>", [])])
    body = page[page.index("<body>") : page.index("</html>")]
    tree = ElementTree.fromstring(body)
    assert next(tree.iter("script"), None) is None
    inline = {"span", "mark", "sub", "bdi", "code", "meter"}
    inside = {child.tag for element in tree.iter() if element.tag in inline for child in element}
    assert inside and inside <= inline


def test_mentions_that_were_only_detected() -> None:
    found = {name: ADA[name] for name in ("mention", "start", "end")}
    assert '<span class="mention"><mark>Ada</mark></span>.</div>' in mention_page([("So Ada.", [found])])
    assert format_mentions("So Ada.", [found]) == "So [Ada].\n  3-6  Ada"


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=8), st.sampled_from([True, False]))
def test_any_text(text: str, name: str, color: bool) -> None:
    mention = {**ADA, "mention": text[:3], "start": 0, "end": len(text[:3]), "name": name}
    page = mention_page([(text, [mention])])
    page.encode("utf-8")
    assert Page(page).open == []
    shown = format_mentions(text, [mention], color)
    plain = shown.replace("\x1b[1;32m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert not [c for c in plain if c < " " and c not in "\n\t"]


def test_terminal() -> None:
    alone = {**ADA, "candidates": ADA["candidates"][:1]}
    assert format_mentions("So Ada.", [alone]) == "So [Ada].\n  3-6  Ada  0.250  Ada Moll (Q1)"
    assert format_mentions("So Ada.", [ADA]).endswith("\n    or Ada <b>Oak</b> (Q2) -0.500")
    assert format_mentions("So Ada.", [{**NIL, "candidates": []}]).endswith("0.250  NIL")
    assert format_mentions("So.", []) == "So.\n  no mention"
    assert format_mentions("So Ada.", [ADA], color=True).startswith("So \x1b[1;32mAda\x1b[0m\x1b[2m[LK]\x1b[0m.\n")
    assert "\x1b[1;33mAda" in format_mentions("So Ada.", [NIL], color=True)


def test_colors_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_color(Terminal())
    assert not wants_color(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(Terminal())
    monkeypatch.setenv("NO_COLOR", "")
    assert wants_color(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_color(Terminal())
