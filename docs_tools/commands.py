"""The commands of `onegen-hf` with their options, read from their parsers."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

from data_builders.registry import CONVERTERS
from onegen_hf.cli.build import FACTS
from onegen_hf.cli.main import COMMANDS, main
from onegen_hf.terminal.options import GENERAL

from .cells import cell, default, table

BENCHMARK = "benchmark"
"""It runs programs of the repository, which have options of their own."""


class _Found(BaseException):
    """Raised with a command's parser, in the place of parsing."""


def parser_of(arguments: Sequence[str]) -> argparse.ArgumentParser | None:
    """The parser that a command line reaches, if it reaches one. Nothing of the command runs."""

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Found(parser)

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", stop),
        mock.patch.object(argparse.ArgumentParser, "print_help", stop),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        try:
            main(list(arguments))
        except _Found as found:
            parser: argparse.ArgumentParser = found.args[0]
            return parser
    return None


def command_table() -> str:
    """The commands, each with what it does, and the options that all of them have."""
    rows = []
    for name, (_, text) in COMMANDS.items():
        shown = f"`onegen-hf {name}`" if name == BENCHMARK else f"[`onegen-hf {name}`](#onegen-hf-{name})"
        rows.append([shown, _sentence(text)])
    options = [[f"`--{name} {value or ''}".strip() + "`", text] for name, (value, text) in GENERAL.items()]
    return f"{table(['command', ''], rows)}\n\nEvery command has these options:\n\n{table(['option', ''], options)}"


def command_sections() -> str:
    """A section for each command, with its options."""
    sections = []
    for name, (_, text) in COMMANDS.items():
        if name == BENCHMARK:
            continue
        sections.append(f"## onegen-hf {name}\n\n{_sentence(text)}")
        if name == "train":
            sections.append("Its options are on the page [Training options](training_options.md).")
        elif name == "build":
            sections += list(_build_sections())
        else:
            parser = parser_of([name, "--help"])
            if parser is not None:
                usage = " ".join(parser.format_usage().split()).removeprefix("usage: ")
                sections += [f"`{usage}`", _options(parser)]
    return "\n\n".join(sections)


def field_table(kind: type[Any], shown: Callable[[str], bool] = lambda _: True) -> str:
    """The fields of a dataclass of options, those that `shown` accepts by name."""
    rows = []
    for field in dataclasses.fields(kind):
        if not shown(field.name):
            continue
        value = "required"
        if field.default is not dataclasses.MISSING:
            value = default(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            value = default(field.default_factory())
        rows.append([f"`--{field.name.replace('_', '-')}`", value, cell(field.metadata.get("help", ""))])
    return table(["option", "default", ""], rows)


def _build_sections() -> Iterator[str]:
    parsers = {name: parser for name in [*CONVERTERS, FACTS] if (parser := parser_of(["build", name, "--help"]))}
    shared = {action.dest for action in parsers["squad"]._actions} & {a.dest for a in parsers["own"]._actions}
    yield "`onegen-hf build NAME [options]`. All sources but `facts` have these options:"
    yield _options(parsers["own"], lambda name: name in shared)
    for name, parser in parsers.items():
        if name == FACTS:
            yield f"### onegen-hf build {name}\n\nWrites a corpus made from bundled tables."
            yield _options(parser)
        else:
            yield f"### onegen-hf build {name}\n\nReads {CONVERTERS[name][1]}."
            yield _options(parser, lambda option: option not in shared)


def _options(parser: argparse.ArgumentParser, shown: Callable[[str], bool] = lambda _: True) -> str:
    rows = []
    for action in parser._actions:
        if action.dest in ("help", *GENERAL) or not shown(action.dest) or not action.option_strings:
            continue
        text = (action.help or "").replace("%%", "%")
        choices = f" One of {', '.join(f'`{value}`' for value in action.choices)}." if action.choices else ""
        value = "required" if action.required else default(action.default)
        rows.append([f"`{action.option_strings[-1]}`", value, cell(text + choices)])
    return table(["option", "default", ""], rows) if rows else "It has no options of its own."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
