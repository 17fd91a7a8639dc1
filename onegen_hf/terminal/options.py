"""`OptionParser`: options of a command, from its arguments and a YAML file."""

from __future__ import annotations

import difflib
import sys
import warnings
from argparse import Action, ArgumentDefaultsHelpFormatter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import zip_longest
from typing import Any, NoReturn

import yaml
from trl import TrlParser

from ..importing.renamed import with_new_names

BOOLEANS = frozenset({"yes", "true", "t", "y", "1", "no", "false", "f", "n", "0"})
"""The values of a flag that `HfArgumentParser` accepts, in lower case."""
EPILOG = "--config FILE reads options from a YAML file; --debug shows the traceback of an error."


class OptionParser(TrlParser):
    """
    A `TrlParser` that reports every error in one line and still accepts the old names of renamed options.

    A dataclass lists its renamed options as `renamed: ClassVar[dict[str, str]] = {"old_name": "new_name"}`. Hyphens
    and underscores are interchangeable; the help shows hyphens.

    Args:
        kinds (`type` or `Sequence[type]`): Dataclasses whose fields are the options.
        prog (`str`): Name of the command, for messages.
        arguments (`str`, *optional*): The positional arguments as the usage shows them.
        description (`str`, *optional*): What the command does.
        synonyms (`Mapping[str, str]`, *optional*): Further names of options, without a warning.
    """

    def __init__(
        self,
        kinds: type[Any] | Sequence[type[Any]],
        prog: str,
        arguments: str = "",
        description: str | None = None,
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        self.kinds = [kinds] if isinstance(kinds, type) else list(kinds)
        usage = " ".join(filter(None, [prog, arguments, "[options]"]))
        super().__init__(
            self.kinds, prog=prog, usage=usage, description=description, epilog=EPILOG, formatter_class=_Help
        )
        self.renamed: dict[str, str] = {}
        for kind in self.kinds:
            self.renamed |= getattr(kind, "renamed", {})
        self.synonyms = dict(synonyms or {})
        for action in self._actions:
            _tidy(action)

    def parse(self, arguments: Sequence[str]) -> tuple[Any, ...]:
        """
        Read options.

        Returns:
            `tuple`: One instance of each dataclass.

        Raises:
            `SystemExit`: With code 2, for an unknown option or a value of the wrong type.
            `ValueError` or `TypeError`: From the checks of the dataclasses.
        """
        *options, rest = self._read(list(arguments))
        if rest:
            self.error(f"unexpected argument {rest[0]!r}")
        return tuple(options)

    def parse_with_texts(self, arguments: Sequence[str]) -> tuple[list[str], Any]:
        """
        Read texts, such as questions, with options before, between or after them. What follows `--` is text.

        Returns:
            `tuple`: The texts in their order, and an instance of the only dataclass.

        Raises:
            `SystemExit`, `ValueError` or `TypeError`: As [`~OptionParser.parse`].
        """
        end = arguments.index("--") if "--" in arguments else len(arguments)
        options, texts = self._read(self._close_flags(arguments[:end]))
        return [*texts, *arguments[end + 1 :]], options

    def error(self, message: str) -> NoReturn:
        """End with code 2 and one line, without the usage of all options."""
        sys.stderr.write(f"{self.prog}: {' '.join(message.split())} (see `{self.prog} --help`)\n")
        raise SystemExit(2)

    def set_defaults_with_config(self, **settings: Any) -> list[str]:
        """As in `TrlParser`, under old names too."""
        settings = {self.synonyms.get(name, name): value for name, value in settings.items()}
        unknown = super().set_defaults_with_config(**with_new_names(self.prog, self.renamed, settings))
        self._refuse_unknown(unknown)
        return unknown

    def _read(self, arguments: list[str]) -> tuple[Any, ...]:
        arguments = [part for argument in arguments for part in self._with_new_name(argument)]
        path = None
        if "--config" in arguments:
            place = arguments.index("--config")
            if place + 1 == len(arguments):
                self.error("--config needs a file: --config recipe.yaml")
            path = arguments[place + 1]
        try:
            *options, rest = self.parse_args_and_config(arguments, return_remaining_strings=True)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = "" if mark is None else f":{mark.line + 1}"
            self.error(f"{path}{line}: this is not valid YAML: {getattr(error, 'problem', None) or error}")
        except UnicodeDecodeError as error:
            self.error(f"{path}: this is not UTF-8 ({error.reason} at byte {error.start}): convert the file")
        self._refuse_unknown(rest)
        return (*options, rest)

    def _refuse_unknown(self, rest: Sequence[str]) -> None:
        unknown = [text.partition("=")[0] for text in rest if text.startswith("-") and " " not in text]
        if unknown:
            names = list(dict.fromkeys(name for action in self._actions for name in action.option_strings))
            close = difflib.get_close_matches(unknown[0].replace("_", "-"), names, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            self.error(f"unknown options: {' '.join(unknown)}{hint}")

    def _with_new_name(self, argument: str) -> list[str]:
        if not argument.startswith("--"):
            return [argument]
        option, equals, value = argument.partition("=")
        if option == "--config" and equals:
            return [option, value]
        name = option.removeprefix("--").replace("-", "_")
        if name in self.synonyms:
            return [f"--{self.synonyms[name]}{equals}{value}"]
        if name not in self.renamed:
            return [argument]
        new = f"--{self.renamed[name].replace('_', '-')}"
        message = f"{self.prog}: {option} is now called {new}; the old name goes away in 0.3"
        warnings.warn(message, FutureWarning, stacklevel=5)
        return [f"{new}{equals}{value}"]

    def _close_flags(self, arguments: Sequence[str]) -> list[str]:
        """Give each flag without a value the value `true`, so that it does not take the text after it."""
        names = [option.name for kind in self.kinds for option in fields(kind) if option.default is False]
        flags = {f"--{spelling}" for name in names for spelling in (name, name.replace("_", "-"))}
        return [
            f"{argument}=true" if argument in flags and after.lower() not in BOOLEANS else argument
            for argument, after in zip_longest(arguments, arguments[1:], fillvalue="")
        ]


class _Help(ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one to show."""

    def _get_help_string(self, action: Action) -> str | None:
        if action.required:
            return f"{action.help or ''} (required)".strip()
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


def _tidy(action: Action) -> None:
    """Show an option with hyphens only, and with a short name of its value."""
    hyphens = [option for option in action.option_strings if "_" not in option]
    action.option_strings = hyphens or action.option_strings
    if action.nargs == 0 and action.const is False:
        action.help = f"Turn off --{action.dest.replace('_', '-')}."
    elif action.nargs == "?" and action.const is True:
        action.metavar = "true|false"
    elif action.choices is None and action.type in (int, float):
        action.metavar = "N" if action.type is int else "X"
