"""Renders the templates of this folder; whatever is filled in is escaped and printable."""

from __future__ import annotations

import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from ..terminal.characters import printable


def render(template: str, **values: Any) -> str:
    """
    Fill in a template.

    Args:
        template (`str`): Name of a file in `templates/`.
        values: What it shows.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    folder = files(__package__).joinpath("templates")
    loader = FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=loader, trim_blocks=True)
    environment.filters["printable"] = lambda text: Markup(escape(printable(str(text))))
    # Jinja's own `tojson` escapes for scripts, which would show.
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment
