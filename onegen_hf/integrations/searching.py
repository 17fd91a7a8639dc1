"""What the retrievers of all frameworks have in common: passages for a text."""

from __future__ import annotations

from typing import Any

from ..checks import having
from ..index.retrieved_passage import RetrievedPassage

REMEDY = 'a PassageIndex, or pipeline("onegen-rag")'


def check_searcher(searcher: Any) -> Any:
    """
    Raises:
        `TypeError`: If something can neither retrieve nor search.
    """
    return searcher if hasattr(searcher, "retrieve") else having("search_text", remedy=REMEDY)("searcher", searcher)


def passages_for(searcher: Any, query: str, k: int) -> list[RetrievedPassage]:
    """
    The best passages for a text.

    Args:
        searcher ([`PassageIndex`] or [`OneGenRagPipeline`]): An index embeds the text as it is, in one forward. A
            pipeline lets the model write what it asks for first, which helps where the text is no bare query.
        query (`str`)
        k (`int`)
    """
    search = searcher.retrieve if hasattr(searcher, "retrieve") else searcher.search_text
    passages: list[RetrievedPassage] = search(query, k)
    return passages


def metadata_of(passage: RetrievedPassage) -> dict[str, Any]:
    """What a document of another framework says of itself: `id`, `title`, `score` and the items of `meta`."""
    meta = passage.meta if isinstance(passage.meta, dict) else {} if passage.meta is None else {"meta": passage.meta}
    return {**meta, "id": passage.id, "title": passage.title, "score": passage.score}
