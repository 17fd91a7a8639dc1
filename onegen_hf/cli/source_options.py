"""Options read from the source of the dataclasses that declare them, where importing these would take too long."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECTION = re.compile(r"\s*# --- (.+?) ---\s*")
_KINDS: dict[str, type] = {"bool": bool, "int": int, "float": float}


@dataclass(frozen=True)
class SourceOption:
    """
    An option as a field of a dataclass declares it.

    Attributes:
        name (`str`): With underscores.
        kind (`type`): `bool`, `int`, `float` or `str`.
        is_list (`bool`): Whether it takes several values.
        default (`Any`): `None` if the source computes it.
        required (`bool`)
        choices (`list`, *optional*)
        help (`str`, *optional*)
        section (`str`, *optional*): The comment `# --- section ---` above it.
    """

    name: str
    kind: type
    is_list: bool
    default: Any
    required: bool
    choices: list[Any] | None
    help: str | None
    section: str | None


def options_of(path: Path, name: str, known: Mapping[str, Sequence[Any]]) -> list[SourceOption]:
    """
    The options of a dataclass, without those that it inherits.

    Args:
        path (`Path`): Its file.
        name (`str`): Its name.
        known (`Mapping[str, Sequence]`): Choices by the expression in the source that computes them, or by the name of
            an enumeration in the type of a field.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    (body,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name]
    return list(_options(body, lines, known))


def enumerations(*paths: Path) -> dict[str, list[str]]:
    """The values of all enumerations of strings in some files, by the name of the class."""
    found: dict[str, list[str]] = {}
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases):
                values = [_literal(part.value) for part in node.body if isinstance(part, ast.Assign)]
                found[node.name] = [value for value in values if isinstance(value, str)]
    return found


def _options(body: ast.ClassDef, lines: Sequence[str], known: Mapping[str, Sequence[Any]]) -> Iterator[SourceOption]:
    section, line = None, body.lineno
    for node in body.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        for comment in map(_SECTION.fullmatch, lines[line : node.lineno - 1]):
            section = comment[1] if comment else section
        line = node.end_lineno or node.lineno
        kind = ast.unparse(node.annotation)
        settings = _field(node.value)
        if kind.startswith("ClassVar") or _literal(settings.get("init")) is False:
            continue
        metadata = _metadata(settings.get("metadata"), known)
        enumeration = next((known[part] for part in re.findall(r"\w+", kind) if part in known), None)
        default = settings.get("default")
        yield SourceOption(
            name=node.target.id,
            kind=next((_KINDS[part] for part in re.findall(r"\w+", kind) if part in _KINDS), str),
            is_list="list[" in kind,
            default=_literal(default),
            required=not {"default", "default_factory"} & set(settings),
            choices=metadata.get("choices") or (list(enumeration) if enumeration else None),
            help=metadata.get("help"),
            section=section,
        )


def _field(value: ast.expr | None) -> dict[str, ast.expr]:
    """The arguments of `field(...)`; a plain value is its default."""
    if value is None:
        return {}
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        return {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg is not None}
    return {"default": value}


def _metadata(value: ast.expr | None, known: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    if not isinstance(value, ast.Dict):
        return {}
    metadata = {}
    for key, part in zip(value.keys, value.values, strict=True):
        if key is not None:
            expression = ast.unparse(part)
            metadata[_literal(key)] = list(known[expression]) if expression in known else _literal(part)
    return metadata


def _literal(node: ast.expr | None) -> Any:
    """The value of a literal; `None` for what is computed."""
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None
