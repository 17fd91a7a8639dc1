"""How a result looks in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 110


def format_result(question: str, result: Mapping[str, Any], sources: int = 1) -> str:
    """
    Write a result of the pipeline for people.

    Args:
        question (`str`)
        result (`Mapping`): As `pipeline("onegen-rag")` returns it.
        sources (`int`, *optional*, defaults to 1): Passages to show per hop.
    """
    lines = [f"Question  {question}"]
    for retrieval in result["retrievals"]:
        lines.append(f"  hop {retrieval['hop'] + 1}   {retrieval['query']}")
        for passage in retrieval["passages"][:sources]:
            text = textwrap.shorten(passage["text"], WIDTH - 30, placeholder=" …")
            lines.append(f"          {passage['score']:.3f}  {passage['title']}: {text}")
    lines.append(f"Answer    {result['answer']}")
    lines.append(f"          {format_usage(result['usage'])}")
    if result["stop_reason"] != "eos":
        lines.append(f"          generation was stopped: {result['stop_reason']}")
    if result["retrieval_stopped"]:
        lines.append(f"          no further retrieval: {result['retrieval_stopped']}")
    return "\n".join(lines)


def format_usage(usage: Mapping[str, int]) -> str:
    """One line about what an answer cost."""
    return (
        f"{usage['prompt_tokens']} prompt + {usage['generated_tokens']} generated + {usage['retrieved_tokens']} "
        f"retrieved tokens; {usage['forwarded_tokens']} forwarded in {usage['forward_calls']} steps"
    )
