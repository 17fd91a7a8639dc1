"""`onegen-hf COMMAND …`: finds the command and hands the remaining arguments to it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "demo": ("onegen_hf.cli.demo", "answer a few questions with the model and the passages that come along"),
    "ask": ("onegen_hf.cli.ask", "answer questions, from the command line or standard input"),
    "link": ("onegen_hf.cli.link", "mark the mentions of entities in texts and link them to a catalogue"),
    "index": ("onegen_hf.cli.index", "embed a corpus and save it as a searchable index"),
    "build": ("onegen_hf.cli.build", "make a dataset to train and evaluate on, from public files or your own"),
    "train": ("onegen_hf.train", "train a model to generate and retrieve"),
    "evaluate": ("onegen_hf.cli.evaluate", "score the retrieval and the answers of a model on a dataset"),
    "benchmark": ("onegen_hf.cli.benchmark", "run one of the repository's measurements"),
    "push": ("onegen_hf.cli.push", "send a model, an index or a dataset to the Hub, with its card"),
}
"""Name → module with a `main(arguments)`, imported when the command is called, and what `--help` says of it."""


def usage() -> str:
    """The text of `onegen-hf --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: onegen-hf COMMAND [--help] ...", "", *lines])


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run one command.

    Args:
        arguments (`Sequence[str]`, *optional*): By default those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    name = arguments[0]
    if name not in COMMANDS:
        sys.exit(f"onegen-hf: unknown command {name!r}\n\n{usage()}")
    try:
        importlib.import_module(COMMANDS[name][0]).main(arguments[1:])
    except (ValueError, TypeError, OSError, ImportError) as error:
        # Errors of input say what to do; a trace of our own frames would bury that.
        sys.exit(f"onegen-hf {name}: {error}")


if __name__ == "__main__":
    main()
