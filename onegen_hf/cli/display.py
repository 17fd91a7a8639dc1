"""How an answer looks in a terminal."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ..terminal.characters import printable_in_terminal, printable_line

WIDTH = 110
UNANSWERED = "(none was written)"
"""Stands where the model wrote no answer."""
_INDENT = " " * 10


def format_result(question: str, result: Mapping[str, Any], sources: int = 1) -> str:
    """
    Write a result of the pipeline for people.

    Args:
        question (`str`)
        result (`Mapping`): As `pipeline("onegen-rag")` returns it. Control characters are replaced.
        sources (`int`, *optional*, defaults to 1): Passages to show per hop.
    """
    lines = [f"Question  {printable_line(question)}"]
    for retrieval in result["retrievals"]:
        lines.append(f"  hop {retrieval['hop'] + 1}   {printable_line(retrieval['query'])}")
        for passage in retrieval["passages"][:sources]:
            text = textwrap.shorten(printable_line(passage["text"]), WIDTH - 30, placeholder=" …")
            lines.append(f"{_INDENT}{passage['score']:.3f}  {printable_line(passage['title'])}: {text}")
    for candidate in result.get("candidates", ()):
        lines.append(f"{_INDENT}{format_candidate(candidate)}")
    # Further lines of an answer are indented, so that it can't pass for other parts of the output.
    answer = printable_in_terminal(answer_or_reason(result, UNANSWERED))
    lines.append(f"Answer    {answer}".replace("\n", f"\n{_INDENT}"))
    lines.append(f"{_INDENT}{format_usage(result['usage'])}")
    if result["stop_reason"] != "eos":
        lines.append(f"{_INDENT}generation was stopped: {result['stop_reason']}")
    if result["retrieval_stopped"]:
        lines.append(f"{_INDENT}no further retrieval: {result['retrieval_stopped']}")
    return "\n".join(lines)


def format_candidate(candidate: Mapping[str, Any]) -> str:
    """A candidate of critique in one line: its score, the parts of it, its passage and its text."""
    parts = [candidate[name] for name in ("probability", "relevance", "support", "utility")]
    numbers = " ".join("    -" if part is None else f"{part:5.2f}" for part in parts)
    title = "" if candidate["passage"] is None else candidate["passage"]["title"]
    text = textwrap.shorten(printable_line(f"{title}: {candidate['text']}"), WIDTH - 45, placeholder=" …")
    return f"{'>' if candidate['chosen'] else ' '} {candidate['score']:6.3f} = {numbers}  {text}"


def answer_or_reason(result: Mapping[str, Any], otherwise: str = "") -> str:
    """
    The answer, or why there is none.

    Args:
        result (`Mapping`): As `pipeline("onegen-rag")` returns it.
        otherwise (`str`, *optional*, defaults to `""`): For a question to which the model wrote no answer.
    """
    from ..pipelines.confidence import why_withheld  # with torch, which some commands do without

    return str(result["answer"]) or why_withheld(result) or otherwise


def format_passages(text: str, passages: Sequence[Mapping[str, Any]]) -> str:
    """
    Write the passages that a search returned, one per line.

    Args:
        text (`str`): What was searched for.
        passages (`Sequence[Mapping]`): With `id`, `title`, `text`, `score` and perhaps `meta`, which gets a line of
            its own. Control characters are replaced.
    """
    lines = [f"Search    {printable_line(text)}"]
    for passage in passages:
        line = printable_line(f"{passage['title']}: {passage['text']}")
        lines.append(f"  {passage['score']:.3f}   {textwrap.shorten(line, WIDTH - 10, placeholder=' …')}")
        if passage.get("meta") is not None:
            meta = printable_line(json.dumps(passage["meta"], ensure_ascii=False))
            lines.append(f"{_INDENT}{textwrap.shorten(meta, WIDTH - 10, placeholder=' …')}")
    return "\n".join(lines if passages else [*lines, "  nothing found"])


def format_usage(usage: Mapping[str, int]) -> str:
    """What an answer cost, in one line."""
    return (
        f"{usage['prompt_tokens']} prompt + {usage['generated_tokens']} generated + {usage['retrieved_tokens']} "
        f"retrieved tokens; {usage['forwarded_tokens']} forwarded in {usage['forward_calls']} steps"
    )
