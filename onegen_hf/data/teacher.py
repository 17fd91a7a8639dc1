"""`Teacher`: what scores the passages of a batch for distillation, and which texts it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..configuration import OneGenConfig
from .passages import Passage


@runtime_checkable
class Teacher(Protocol):
    """Scores passages for queries. It is asked in the processes of a data loader, so it must pickle and be quick."""

    def scores(self, queries: Sequence[str | None], passages: Sequence[Passage]) -> Tensor:
        """
        Args:
            queries (`Sequence[str | None]`): Texts of query tokens, as [`~onegen_hf.data.queries.query_texts`] reads
                them; `None` where there is none.
            passages (`Sequence[Passage]`)

        Returns:
            `Tensor` of shape `(n_queries, n_passages)`, float32: NaN where the teacher has no score.
        """


def teacher_text(passage: Passage) -> str:
    """A passage as sentence encoders read it: title and text, separated by a space."""
    return f"{passage.title} {passage.text}".strip()


def embedded_units(passage: Passage, config: OneGenConfig) -> list[Passage]:
    """What has an embedding of its own: the passage, or each of its sentences under the passage's title."""
    if config.granularity == "passage" or not passage.sentences:
        return [passage]
    return [
        Passage(f"{passage.id}#{number}", passage.title, sentence) for number, sentence in enumerate(passage.sentences)
    ]
