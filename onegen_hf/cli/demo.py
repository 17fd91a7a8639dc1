"""`onegen-hf demo`: the built-in checkpoint answers questions over its built-in passages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from trl import TrlParser

from data_builders.facts.split import load_demo_questions

from .ask import PipelineArguments
from .display import format_result

OUTSIDE = "Who directed the film The Lighthouse Keeper of Ganymede?"
"""No passage knows this film."""


@dataclass
class DemoArguments(PipelineArguments):
    """
    Arguments of `onegen-hf demo`.

    Args:
        num_questions (`int`, *optional*, defaults to 6): How many of the built-in questions to ask.
    """

    num_questions: int = field(default=6, metadata={"help": "How many of the built-in questions to ask."})


def demo_questions() -> list[str]:
    """The built-in questions; the passages of their first hop take part in no training question."""
    return [record["question"] for record in load_demo_questions()]


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    (demo,) = TrlParser(DemoArguments, prog="onegen-hf demo").parse_args_and_config(list(arguments))
    start = time.perf_counter()
    rag = demo.load()
    print(f"\n{rag.index}\nloaded in {time.perf_counter() - start:.1f} s\n")
    known = demo_questions()
    if not 0 <= demo.num_questions <= len(known):
        raise ValueError(f"num_questions={demo.num_questions} must be between 0 and {len(known)}")
    # The later ones take more hops: some of both.
    step = len(known) / max(demo.num_questions, 1)
    questions = [known[int(n * step)] for n in range(demo.num_questions)]
    for question in questions:
        print(format_result(question, rag(question, **demo.call_options()), sources=demo.k) + "\n", flush=True)
    print("A question that the passages cannot answer; the scores tell:\n")
    print(format_result(OUTSIDE, rag(OUTSIDE, **demo.call_options()), sources=demo.k))
    print(f"\n{len(questions) + 1} questions in {time.perf_counter() - start:.1f} s, loading included")
