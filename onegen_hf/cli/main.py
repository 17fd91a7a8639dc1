"""`onegen-hf COMMAND …`: finds the command and hands the remaining arguments to it."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from ..terminal.usage import UsageError
from .errors import errors_in_one_line, warnings_in_one_line
from .output import Verbosity, verbosity

COMMANDS = {
    "demo": ("onegen_hf.cli.demo", "run the bundled model on a few two-hop questions over the bundled passages"),
    "ask": ("onegen_hf.cli.ask", "answer questions from the command line or standard input"),
    "search": ("onegen_hf.cli.search", "find the passages of an index that fit a text"),
    "link": ("onegen_hf.cli.link", "mark entity mentions in texts and link them to a catalogue"),
    "serve": ("onegen_hf.cli.serve", "answer the requests of many clients over HTTP, as OpenAI's API does"),
    "mcp": ("onegen_hf.cli.mcp", "offer search, answers and entity links as tools to other programs (MCP)"),
    "index": ("onegen_hf.cli.index", "embed a corpus and save it as a searchable index"),
    "build": ("onegen_hf.cli.build", "build a dataset for training and evaluation from public files or your own"),
    "train": ("onegen_hf.cli.train", "train a model to generate and retrieve"),
    "evaluate": ("onegen_hf.cli.evaluate", "score the retrieval and the answers of a model on a dataset"),
    "calibrate": ("onegen_hf.cli.calibrate", "fit the threshold of answers or of adaptive retrieval"),
    "project": ("onegen_hf.cli.project", "turn embeddings so that an index can keep fewer numbers of each"),
    "benchmark": ("onegen_hf.cli.benchmark", "run one of the measurements in the repository"),
    "ui": ("onegen_hf.cli.ui", "open a page in the browser to ask, chat, compare, browse and link"),
    "push": ("onegen_hf.cli.push", "upload a model, an index or a dataset to the Hub, with its card"),
    "info": ("onegen_hf.cli.info", "describe a checkpoint, an index, a dataset or an evaluation"),
    "setup": ("onegen_hf.cli.setup", "install the base weights of the bundled models"),
    "env": ("onegen_hf.cli.env", "print the versions of this environment, for bug reports"),
    "completion": ("onegen_hf.cli.completion", "print a script that completes commands and options in a shell"),
}
"""Name → module with a `main(arguments)`, imported when the command is called, and its line in `--help`."""
RESUMABLE = {"index", "train", "evaluate", "calibrate"}
"""Commands that continue where they were interrupted."""
DEBUG_VARIABLE = "ONEGEN_DEBUG"


def usage() -> str:
    """The text of `onegen-hf --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    notes = [
        "`onegen-hf COMMAND --help` lists the options of a command; `--version` prints the version.",
        "`--quiet` prints no progress and no warnings, `--verbose` those of libraries too.",
        f"`--debug`, or {DEBUG_VARIABLE}=1 in the environment, shows the traceback of an error.",
    ]
    return "\n".join(["usage: onegen-hf COMMAND [--help] [--quiet | --verbose] [--debug] ...", "", *lines, "", *notes])


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run one command.

    Args:
        arguments (`Sequence[str]`, *optional*): Defaults to those of the process.

    Raises:
        `SystemExit`: After an error, with its message on standard error: code 2 for wrong arguments, 130 after Ctrl-C,
            else 1.
    """
    arguments, debug = _without_debug(list(sys.argv[1:] if arguments is None else arguments))
    arguments, chosen = _without_verbosity(arguments)
    name = arguments[0] if arguments else "--help"
    if name == "--version":
        with errors_in_one_line("onegen-hf", debug):
            from importlib.metadata import version  # not needed by any other command

            print(f"onegen-hf {version('onegen-hf')}")
        return
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        message = f"onegen-hf: unknown command {name!r}: choose one of {', '.join(COMMANDS)}{hint}"
        print(message, file=sys.stderr)
        raise UsageError(message)
    _replace_what_the_terminal_lacks()
    program = f"onegen-hf {name}"
    resumable = name in RESUMABLE
    with errors_in_one_line(program, debug, resumable), verbosity(chosen), warnings_in_one_line(program):
        importlib.import_module(COMMANDS[name][0]).main(arguments[1:])


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, and whether tracebacks are shown."""
    debug = os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = []
    for place, argument in enumerate(arguments):
        # `onegen-hf train --debug underflow_overflow` is an option of transformers' training arguments.
        has_value = "train" in arguments[:place] and not "".join(arguments[place + 1 : place + 2]).startswith("-")
        if argument == "--debug" and place < end and not (has_value and place + 1 < len(arguments)):
            debug = True
        else:
            kept.append(argument)
    return kept, debug


def _without_verbosity(arguments: list[str]) -> tuple[list[str], Verbosity]:
    """The arguments without `--quiet` and `--verbose`, and which of them was the last."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = [argument for argument in arguments[:end] if argument in ("--quiet", "--verbose")]
    kept = [argument for argument in arguments[:end] if argument not in flags]
    return [*kept, *arguments[end:]], Verbosity(flags[-1]) if flags else Verbosity.NORMAL


def _replace_what_the_terminal_lacks() -> None:
    """Print characters that the encoding of an output lacks as escapes, instead of failing after the work."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
