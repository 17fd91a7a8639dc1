"""The templates of cards, which lie in the folder `model_cards`, and what values may do in them."""

from __future__ import annotations

import html
import re
import unicodedata
from importlib.resources import as_file, files
from typing import Any, TypeVar

from huggingface_hub import CardData, RepoCard
from jinja2 import Environment

Card = TypeVar("Card", bound=RepoCard)


class Verbatim(str):
    """Text that goes into a card as it is: our own Markdown, or the caller's."""


def fill(card: type[Card], template: str, data: CardData, **values: Any) -> Card:
    """
    Make a card.

    Values may come from strangers' files (an index.json, a config.json): in a card they stand as one line of a code
    span or of prose, and can't become headings, HTML, links or cells of a table.

    Args:
        card (`type`): `ModelCard` or `DatasetCard`.
        template (`str`): File name, such as `"model.md"`.
        data (`CardData`): The front matter.
        values: What the template asks for. [`Verbatim`] text is left as it is.
    """
    environment = Environment(finalize=_one_line)  # noqa: S701 - Markdown, see _one_line and prose
    environment.filters |= {"prose": prose, "block": block}
    with as_file(files("model_cards") / template) as path:
        made = environment.from_string(path.read_text(encoding="utf-8"))
    return card(made.render(card_data=Verbatim(data.to_yaml()), **values))


def prose(value: Any) -> Any:
    """Text outside of code: no HTML, no links, no images."""
    if not isinstance(value, str) or isinstance(value, Verbatim):
        return value
    line = html.escape(_one_line(value), quote=False)
    return Verbatim("".join(f"\\{letter}" if letter in "[]#*" else letter for letter in line))


def block(value: str) -> Verbatim:
    """Several lines inside of a fenced block, which they can't close."""
    return Verbatim(value.strip().replace("```", "'''"))


def _one_line(value: Any) -> Any:
    """What every value goes through: one line, which can't leave a code span or a cell of a table."""
    if not isinstance(value, str) or isinstance(value, Verbatim):
        return value
    line = re.sub(r"\s+", " ", value)
    shown = "".join(letter for letter in line if unicodedata.category(letter)[0] != "C")
    return shown.replace("`", "'").replace("|", "\\|")
