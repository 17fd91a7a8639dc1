"""`RetrievedPassage`: a passage as results show it."""

from __future__ import annotations

from typing import Any, ClassVar

from ..data.attribute_dict import AttributeDict
from ..data.passages import Passage


class RetrievedPassage(AttributeDict):
    """
    A passage with its score.

    Attributes:
        id (`str`)
        title (`str`)
        text (`str`): All of it, even if less was inserted into the generation.
        score (`float`): Cosine of query and passage embedding.
        meta (any JSON value): What the passage came with; the item is missing, and the attribute `None`, where it came
            with nothing.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {"meta": None}

    id: str
    title: str
    text: str
    score: float
    meta: Any

    @classmethod
    def of(cls, passage: Passage, score: float) -> RetrievedPassage:
        """
        Args:
            passage ([`Passage`])
            score (`float`)
        """
        described = cls(id=passage.id, title=passage.title, text=passage.text, score=score)
        if passage.meta is not None:
            described["meta"] = passage.meta
        return described
