"""Prints linked mentions in a terminal, plain or in colour."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from ...terminal.characters import printable_in_terminal

_LINKED, _NIL, _FAINT, _RESET = "\x1b[1;32m", "\x1b[1;33m", "\x1b[2m", "\x1b[0m"


def wants_color(stream: TextIO) -> bool:
    """Whether a stream shows colours: it is a terminal that supports them, and `NO_COLOR` is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def format_mentions(text: str, mentions: Sequence[Mapping[str, Any]], color: bool = False) -> str:
    """
    Format a result of the pipeline: the text with its mentions, then each mention with its entity and candidates.

    Args:
        text (`str`): Control characters are replaced.
        mentions (`Sequence[Mapping]`): As `pipeline("onegen-entity-linking")` returns them.
        color (`bool`, *optional*, defaults to `False`): Colour mentions instead of putting brackets around them.
    """
    pieces, position = [], 0
    for mention in mentions:
        pieces += [printable_in_terminal(text[position : mention["start"]]), _marked(mention, color)]
        position = mention["end"]
    lines = ["".join([*pieces, printable_in_terminal(text[position:])])]
    for mention in mentions:
        columns = [f"{mention['start']}-{mention['end']}", mention["mention"]]
        if "score" in mention:
            columns += [f"{mention['score']:.3f}", _entity(mention)]
        lines.append(f"  {printable_in_terminal('  '.join(columns))}")
        others = [entity for entity in mention.get("candidates", ()) if entity["entity_id"] != mention["entity_id"]]
        if others:
            names = ", ".join(f"{_entity(entity)} {entity['score']:.3f}" for entity in others)
            lines.append(_painted(f"    or {printable_in_terminal(names)}", _FAINT, color))
    return "\n".join(lines if mentions else [*lines, "  no mention"])


def _marked(mention: Mapping[str, Any], color: bool) -> str:
    text = printable_in_terminal(mention["mention"])
    if not color:
        return f"[{text}]"
    shade = _NIL if mention.get("entity_id") == "NIL" else _LINKED
    return f"{shade}{text}{_RESET}{_FAINT}[LK]{_RESET}"


def _entity(entity: Mapping[str, Any]) -> str:
    return f"{entity['name']} ({entity['entity_id']})" if entity["name"] else str(entity["entity_id"])


def _painted(text: str, shade: str, color: bool) -> str:
    return f"{shade}{text}{_RESET}" if color else text
