"""`render`: fills a template of a page. No scripts, no fonts, no other files; everything is escaped."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from ..terminal.characters import printable

FRAME, PARTS, STYLESHEET = "frame.html.jinja", "parts.html.jinja", "page.css"


def render(package: str, template: str, title: str, **values: Any) -> str:
    """
    Make a page.

    Args:
        package (`str`): Package that holds the template.
        template (`str`): File name of a template that extends `frame.html.jinja`. The filter `printable` replaces
            control characters; all values are escaped in any case.
        title (`str`)
        values: What the template asks for.

    Returns:
        `str`: HTML 5; write it as UTF-8.
    """
    return _template(package, template).render(title=title, **values)


@cache
def _template(package: str, name: str) -> Template:
    own = {part: _read(__package__, part) for part in (FRAME, PARTS)}
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        loader=DictLoader({**own, name: _read(package, name)}),
    )
    environment.filters["printable"] = lambda text: Markup(escape(printable(str(text))))
    environment.globals["stylesheet"] = Markup(_read(__package__, STYLESHEET))
    return environment.get_template(name)


def _read(package: str | None, name: str) -> str:
    assert package is not None
    return files(package).joinpath(name).read_text(encoding="utf-8")
