"""The options of commands that can criticise: how Self-RAG's critique weighs and searches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..checks import checked_fields, flag, integer, number


@dataclass(kw_only=True)
class CritiqueArguments:
    """How candidates are weighed; for checkpoints with Self-RAG's reflection tokens."""

    group: ClassVar[str] = "critique"

    critique: bool = field(
        default=False,
        metadata={
            "help": "Write a candidate for each of the --top-k passages, and keep the one that the reflection tokens "
            "judge best."
        },
    )
    w_rel: float = field(default=1.0, metadata={"help": "Weight of the relevance of the passage."})
    w_sup: float = field(default=1.0, metadata={"help": "Weight of the support by the passage."})
    w_use: float = field(default=0.5, metadata={"help": "Weight of the utility of the text."})
    closed_set: bool = field(
        default=False, metadata={"help": "Add up the scores of equal answers: for answers that are labels."}
    )
    depth: int = field(default=1, metadata={"help": "Most segments of an answer; above 1 for long answers."})
    width: int = field(default=2, metadata={"help": "Beams that go on after each segment."})
    ignore_continue: bool = field(
        default=False,
        metadata={"help": "Leave out segments that the model calls [No support / Contradictory]."},
    )

    def __post_init__(self) -> None:
        checked_fields(
            self,
            critique=flag(),
            w_rel=number(),
            w_sup=number(),
            w_use=number(),
            closed_set=flag(),
            depth=integer(least=1),
            width=integer(least=1),
            ignore_continue=flag(),
        )
        settings = (self.w_rel, self.w_sup, self.w_use, self.closed_set, self.depth, self.width, self.ignore_continue)
        if not self.critique and settings != (1.0, 1.0, 0.5, False, 1, 2, False):
            raise ValueError(
                "critique=False: the weights, closed_set, depth, width and ignore_continue need --critique"
            )

    def critique_settings(self) -> Any:
        """The settings for the pipeline; `None` without critique."""
        if not self.critique:
            return None
        from ..generation import CritiqueSettings

        return CritiqueSettings(
            self.w_rel, self.w_sup, self.w_use, self.closed_set, self.depth, self.width, self.ignore_continue
        )
