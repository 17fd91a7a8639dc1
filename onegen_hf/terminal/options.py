"""`OptionParser`: options of a command, from its arguments and a YAML file."""

from __future__ import annotations

import difflib
import os
import sys
import warnings
from argparse import SUPPRESS, Action, ArgumentDefaultsHelpFormatter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

import yaml
from trl import TrlParser

from ..importing.renamed import with_new_names
from .usage import UsageError, usage_errors

BOOLEANS = frozenset({"yes", "true", "t", "y", "1", "no", "false", "f", "n", "0"})
"""The values of a flag that `HfArgumentParser` accepts, in lower case."""
GENERAL = {
    "config": ("FILE", "Read options from a YAML file; those of the command line take precedence."),
    "quiet": (None, "Print no progress and no warnings."),
    "verbose": (None, "Print all warnings and log messages, those of libraries too."),
    "debug": (None, "Show the traceback of an error."),
}
"""Options of every command: name → what stands for its value (`None` for a flag), and its help."""


class OptionParser(TrlParser):
    """
    A `TrlParser` that reports every error in one line and still accepts the old names of renamed options.

    A dataclass lists its renamed options as `renamed: ClassVar[dict[str, str]] = {"old_name": "new_name"}`, and names
    the group of its options in the help as `group: ClassVar[str]`. Hyphens and underscores are interchangeable; the
    help shows hyphens.

    Args:
        kinds (`type` or `Sequence[type]`): Dataclasses whose fields are the options.
        prog (`str`): Name of the command, for messages.
        arguments (`str`, *optional*): The positional arguments as the usage shows them.
        description (`str`, *optional*): What the command does.
        synonyms (`Mapping[str, str]`, *optional*): Further names of options, without a warning.
        configs (`Mapping[str, Path]`, *optional*): Files that `--config` takes by name.
        epilog (`str`, *optional*): Text after the options.
    """

    def __init__(
        self,
        kinds: type[Any] | Sequence[type[Any]],
        prog: str,
        arguments: str = "",
        description: str | None = None,
        synonyms: Mapping[str, str] | None = None,
        configs: Mapping[str, Path] | None = None,
        epilog: str | None = None,
    ) -> None:
        self.kinds = [kinds] if isinstance(kinds, type) else list(kinds)
        usage = " ".join(filter(None, [prog, arguments, "[options]"]))
        super().__init__(
            self.kinds, prog=prog, usage=usage, description=description, epilog=epilog, formatter_class=OptionHelp
        )
        self.renamed: dict[str, str] = {}
        for kind in self.kinds:
            self.renamed |= getattr(kind, "renamed", {})
        self.synonyms, self.configs = dict(synonyms or {}), dict(configs or {})
        numbers = {name: number for kind in self.kinds for name, number in _optional_numbers(kind).items()}
        for action in self._actions:
            tidy(action, numbers.get(action.dest))
        self._group_options()
        add_general_options(self)

    def parse(self, arguments: Sequence[str]) -> tuple[Any, ...]:
        """
        Read options.

        Returns:
            `tuple`: One instance of each dataclass.

        Raises:
            [`UsageError`]: For an unknown option, or a value of the wrong type.
            `ValueError`, `TypeError` or `OSError`: From the checks of the dataclasses, marked as [`usage_errors`] do.
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
            [`UsageError`], `ValueError`, `TypeError` or `OSError`: As [`~OptionParser.parse`].
        """
        end = arguments.index("--") if "--" in arguments else len(arguments)
        options, texts = self._read(self._close_flags(arguments[:end]))
        return [*texts, *arguments[end + 1 :]], options

    def error(self, message: str) -> NoReturn:
        """End with code 2 and one line, without the usage of all options."""
        if message.startswith("ambiguous option: "):  # argparse names what begins with it, in both spellings
            option, *_, close = message.removeprefix("ambiguous option: ").split()
            message = f"unknown options: {option}; did you mean {close}?"
        message = f"{self.prog}: {' '.join(message.split())} (see `{self.prog} --help`)"
        sys.stderr.write(f"{message}\n")
        raise UsageError(message)

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
            path = arguments[place + 1] = self._config_file(arguments[place + 1])
        try:
            with usage_errors():
                *options, rest = self.parse_args_and_config(arguments, return_remaining_strings=True)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = "" if mark is None else f":{mark.line + 1}"
            self.error(f"{path}{line}: this is not valid YAML: {getattr(error, 'problem', None) or error}")
        except UnicodeDecodeError as error:
            self.error(f"{path}: this is not UTF-8 ({error.reason} at byte {error.start}): convert the file")
        self._refuse_unknown(rest)
        return (*options, rest)

    def _config_file(self, name: str) -> str:
        """The file that `--config` names: a path, or the name of one of `configs`."""
        if os.path.exists(name):
            return name
        if name in self.configs:
            return str(self.configs[name])
        if self.configs:
            known = Path(name).stem
            hint = f"--config {known}" if known in self.configs else f"one of {', '.join(self.configs)}"
            self.error(f"{name}: No such file or directory; of the recipes in the package, give {hint}")
        return name

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

    def _group_options(self) -> None:
        """Show options under the `group` of the dataclass that declares them."""
        groups: dict[str, Any] = {}
        title_of = {option.name: _group_of(kind, option.name) for kind in self.kinds for option in fields(kind)}
        for action in self._actions:
            title = title_of.get(action.dest.removeprefix("no_"))
            if title is None or action not in self._optionals._group_actions:
                continue
            group = groups.setdefault(title, None) or self.add_argument_group(title)
            groups[title] = group
            self._optionals._group_actions.remove(action)
            group._group_actions.append(action)


class OptionHelp(ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one to show, and flags without a value."""

    def _get_help_string(self, action: Action) -> str | None:
        if action.required:
            return f"{action.help or ''} (required)".strip()
        if action.default is None or action.default is False or action.default == [] or action.default == SUPPRESS:
            return action.help
        return super()._get_help_string(action)

    def _format_args(self, action: Action, default_metavar: str) -> str:
        return "" if is_flag(action) else super()._format_args(action, default_metavar)

    def _format_action_invocation(self, action: Action) -> str:
        return super()._format_action_invocation(action).rstrip()


class _ReadBefore(Action):
    """Leaves no trace in the result: `--config` is read by `TrlParser`, the flags by the command line."""

    def __call__(self, *_: Any) -> None:
        pass


def is_flag(action: Action) -> bool:
    """Whether an option is used without a value (`--json true` is accepted for the sake of YAML and old scripts)."""
    return action.nargs == 0 or (action.nargs == "?" and action.const is True)


def tidy(action: Action, number: type | None = None) -> None:
    """
    Show an option with hyphens only, and with a short name of its value.

    Args:
        action (`Action`)
        number (`type`, *optional*): Its type, where the parser's is a function that also accepts none.
    """
    number = number or (action.type if action.type in (int, float) else None)  # type: ignore[assignment]
    hyphens = [option for option in action.option_strings if "_" not in option]
    action.option_strings = hyphens or action.option_strings
    if action.nargs == 0 and action.const is False:
        action.help = f"Turn off --{action.dest.replace('_', '-')}."
    elif action.choices is None and number is not None:
        action.metavar = "N" if number is int else "X"


def add_general_options(parser: Any) -> None:
    """Add the options of every command to the help. The command line reads the flags before a command is called."""
    group = parser.add_argument_group("general")
    for name, (value, text) in GENERAL.items():
        if f"--{name}" in parser._option_string_actions:  # `--debug` of transformers' training arguments
            continue
        kind: dict[str, Any] = {"nargs": 0} if value is None else {"metavar": value}
        group.add_argument(f"--{name}", action=_ReadBefore, default=SUPPRESS, help=text, **kind)


def _optional_numbers(kind: type) -> dict[str, type]:
    """The fields that are an `int` or a `float`, or `None`."""
    hints = {name: set(get_args(hint)) - {type(None)} for name, hint in get_type_hints(kind).items()}
    return {name: types.pop() for name, types in hints.items() if types in ({int}, {float})}


def _group_of(kind: type, name: str) -> str | None:
    """The group of the class that declares a field."""
    owner = next(base for base in kind.__mro__ if name in vars(base).get("__annotations__", {}))
    return vars(owner).get("group")
