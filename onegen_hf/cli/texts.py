"""`texts_and_options`: a command line of texts, such as questions, with options before, between or behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from itertools import zip_longest
from typing import Any

from trl import TrlParser

BOOLEANS = frozenset({"yes", "true", "t", "y", "1", "no", "false", "f", "n", "0"})
"""What `HfArgumentParser` takes for the value of a flag, in lower case."""


def texts_and_options(kind: type[Any], arguments: Sequence[str], prog: str) -> tuple[list[str], Any]:
    """
    Read a command line.

    Args:
        kind (`type`): The dataclass of the options.
        arguments (`Sequence[str]`)
        prog (`str`): The command, for its help.

    Returns:
        `tuple`: The texts in their order, and an instance of `kind`.

    Raises:
        `ValueError`: For an option that there is not.
    """
    parser = TrlParser(kind, prog=prog)
    options, texts = parser.parse_args_and_config(closed_flags(kind, arguments), return_remaining_strings=True)
    unknown = [text for text in texts if text.startswith("-") and " " not in text]
    if unknown:
        raise ValueError(f"unknown options: {' '.join(unknown)}; `--help` lists those that there are")
    return list(texts), options


def closed_flags(kind: type[Any], arguments: Sequence[str]) -> list[str]:
    """The arguments, with a value for each flag that has none, so that it does not take the text behind it."""
    names = [option.name for option in fields(kind) if option.default is False]
    flags = {f"--{spelt}" for name in names for spelt in (name, name.replace("_", "-"))}
    return [
        f"{argument}=true" if argument in flags and after.lower() not in BOOLEANS else argument
        for argument, after in zip_longest(arguments, arguments[1:], fillvalue="")
    ]
