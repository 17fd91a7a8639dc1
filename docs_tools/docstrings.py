"""Docstrings in the style of Hugging Face, as mkdocstrings reads them."""

from __future__ import annotations

import re
from typing import Any

import griffe

_REFERENCE = re.compile(r"\[`(~?)([\w.]+)`\](?![\[(])")
# `name (`type`, *optional*, defaults to `x`): text`: the default stands in the signature already.
_ARGUMENT = re.compile(r"^( {4})(\*{0,2}\w+(?:, \w+)*) \((.+?)\)(:.*)?$", re.MULTILINE)
_OUTCOME = re.compile(r"^( {4})(\[?`[^:\n]*`\]?[^:\n]*)(:(?: .*)?)?$", re.MULTILINE)
_NOTHING = ": &nbsp;"
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):\n((?:(?: {4}.*)?\n?)+)", re.MULTILINE)


class HuggingFaceDocstrings(griffe.Extension):
    """Turns cross-references and types into what the Google style calls them."""

    def __init__(self) -> None:
        self.targets: dict[str, str] = {}

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite all docstrings, as soon as every name is known."""
        self._learn(pkg)
        self._rewrite(pkg)

    def _learn(self, item: griffe.Object | griffe.Alias) -> None:
        for name, member in item.members.items():
            if member.is_alias or name.startswith("_"):
                continue
            self.targets[member.path] = member.path
            self.targets.setdefault(name, member.path)
            if member.parent is not None and member.parent.is_class:
                self.targets.setdefault(f"{member.parent.name}.{name}", member.path)
            if not member.is_attribute and not member.is_function:
                self._learn(member)

    def _rewrite(self, item: griffe.Object | griffe.Alias) -> None:
        if item.docstring is not None:
            item.docstring.value = rewritten(item.docstring.value, self.targets)
        for member in item.members.values():
            if not member.is_alias:
                self._rewrite(member)


def rewritten(text: str, targets: dict[str, str]) -> str:
    """A docstring with Markdown cross-references, and with sections in the Google style."""
    text = _SECTION.sub(lambda match: _section(match[1], match[2]), text)

    def reference(match: re.Match[str]) -> str:
        name = match[2]
        shown = name.rpartition(".")[2] if match[1] else name
        path = targets.get(name)
        # `optional`: a name without a page of its own is shown, and is no link.
        return f'<autoref optional identifier="{path}">`{shown}`</autoref>' if path else f"`{shown}`"

    return _REFERENCE.sub(reference, text)


def _section(title: str, body: str) -> str:
    # The Google style wants a description of everything, and no parentheses inside of a type.
    if title in ("Args", "Attributes"):
        body = _ARGUMENT.sub(lambda m: f"{m[1]}{m[2]} ({_type(m[3])}){m[4] or _NOTHING}", body)
    else:  # lines below the first go on with what is returned, but may name another error
        count = 0 if title == "Raises" else 1
        body = _OUTCOME.sub(lambda m: f"{m[1]}{_type(m[2])}{m[3] or _NOTHING}", body, count=count)
    return f"{title}:\n{body}"


def _type(text: str) -> str:
    text = re.sub(r", \*optional\*.*", "", text)
    return re.sub(r"\[?`~?([^`]*)`\]?s?", r"\1", text).replace("(", "[").replace(")", "]")
