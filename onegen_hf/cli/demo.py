"""`onegen-hf demo`: the bundled checkpoint answers questions over the bundled passages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from data_builders.facts.split import load_demo_questions

from ..checks import checked_fields, integer
from ..terminal.options import OptionParser
from .ask import PipelineArguments
from .trace import print_result

OUTSIDE = "Who directed the film The Lighthouse Keeper of Ganymede?"
"""No passage mentions this film."""


@dataclass(kw_only=True)
class DemoArguments(PipelineArguments):
    """Options of `onegen-hf demo`."""

    num_questions: int = field(default=6, metadata={"help": "How many of the bundled questions to ask."})

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(self, num_questions=integer(least=0, most=len(demo_questions())))


def demo_questions() -> list[str]:
    """The bundled questions. No training question uses the passages of their first hop."""
    return [record["question"] for record in load_demo_questions()]


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        DemoArguments,
        "onegen-hf demo",
        description="Run the bundled model on a few two-hop questions over the bundled passages.",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    (demo,) = parser().parse(arguments)
    start = time.perf_counter()
    rag = demo.load()
    print(f"{len(rag.index)} passages and the model, loaded in {time.perf_counter() - start:.1f} s\n")
    # Later questions take more hops: pick some of each.
    known = demo_questions()
    step = len(known) / max(demo.num_questions, 1)
    questions = [known[int(n * step)] for n in range(demo.num_questions)]
    for question in questions:
        print_result(question, rag(question, **demo.call_options()), sources=demo.top_k)
    print("A question that the passages cannot answer, as the low scores show:\n")
    print_result(OUTSIDE, rag(OUTSIDE, **demo.call_options()), sources=demo.top_k)
    print(f"{len(questions) + 1} questions in {time.perf_counter() - start:.1f} s, including loading")
