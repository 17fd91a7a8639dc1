"""The options of commands that say how much of a passage the model reads, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..checks import checked_fields, integer, optional


@dataclass(kw_only=True)
class ReadingArguments:
    """How much of a passage is read, and how often."""

    group: ClassVar[str] = "reading"

    inserted_sentences: int | None = field(
        default=None,
        metadata={
            "help": "Sentences of a passage that the model reads, those with most words of the query; 0 for all; "
            "default: as the model says."
        },
    )
    readings: int | None = field(
        default=None,
        metadata={
            "help": "How often it reads a passage, each time with one sentence less; the surest answer counts; "
            "default: as the model says."
        },
    )

    def __post_init__(self) -> None:
        checked_fields(self, inserted_sentences=optional(integer(least=0)), readings=optional(integer(least=1)))

    def reading_options(self) -> dict[str, Any]:
        """Arguments of the pipeline and of the evaluation."""
        return {"inserted_sentences": self.inserted_sentences, "readings": self.readings}
