"""How an answer came about, as a tree on a terminal and as plain text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..terminal.characters import printable_in_terminal, printable_line
from .display import answer_or_reason, format_result, format_usage

_BAR = 10
"""Width of the bar of a score of 1, in characters."""


def print_result(question: str, result: Mapping[str, Any], sources: int = 1) -> None:
    """
    Print a result of the pipeline.

    Args:
        question (`str`)
        result (`Mapping`): As `pipeline("onegen-rag")` returns it. Control characters are replaced.
        sources (`int`, *optional*, defaults to 1): Passages to show per hop.
    """
    if not sys.stdout.isatty():
        print(format_result(question, result, sources) + "\n", flush=True)
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(trace(question, result, sources))
    console.print()


def trace(question: str, result: Mapping[str, Any], sources: int = 1) -> Any:
    """The tree of a result: each retrieval with its query, its passages and their scores, then the answer."""
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(printable_line(question), "bold"), guide_style="dim")
    for retrieval in result["retrievals"]:
        query = Text.assemble((f"hop {retrieval['hop'] + 1}  ", "dim"), (printable_line(retrieval["query"]), "cyan"))
        branch = tree.add(query)
        for passage in retrieval["passages"][:sources]:
            filled = round(_BAR * min(max(passage["score"], 0.0), 1.0))
            branch.add(
                Text.assemble(
                    ("█" * filled, "green"),
                    ("░" * (_BAR - filled), "dim"),
                    (f" {passage['score']:.3f}  ", "dim"),
                    (printable_line(passage["title"]), "bold"),
                    f": {printable_line(passage['text'])}",
                    no_wrap=True,
                    overflow="ellipsis",
                )
            )
    answer = tree.add(Text(printable_in_terminal(answer_or_reason(result, "no answer")), "bold green"))
    answer.add(Text(format_usage(result["usage"]), "dim"))
    for label, reason in (("stopped", result["stop_reason"]), ("no further retrieval", result["retrieval_stopped"])):
        if reason not in ("eos", None):
            answer.add(Text(f"{label}: {reason}", "yellow"))
    return tree
