"""`cite`: in which retrieved passages an answer stands."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..generation import Retrieval
from .results import Citation


def cite(answer: str, retrievals: Sequence[Retrieval], inserted: Sequence[Sequence[str]]) -> list[Citation]:
    """
    Find the passages that an answer was copied from. The rule is exact:

    - The answer counts as it is, case included, but without a full stop at its end.
    - It must stand in the text of the passage as whole words: no letter, digit or underscore right before or after it.
    - It must also stand in what was inserted of that passage, since nothing else was read.
    - Each passage is cited once, at the first place where the answer stands, for the latest hop that retrieved it.
    - The latest hop comes first, and within a hop the best passage.

    An answer that the model put into other words (`"yes"`, a number that it counted) is cited only if a passage
    happens to hold it.

    Args:
        answer (`str`)
        retrievals (`Sequence[Retrieval]`): The hops.
        inserted (`Sequence[Sequence[str]]`): For each hop, the text inserted for each passage; may be shorter than the
            passages if the rest did not fit.

    Returns:
        `list[Citation]`: Empty if the answer is empty or stands nowhere.
    """
    answer = answer.strip().removesuffix(".").rstrip()
    if not answer:
        return []
    whole_words = re.compile(rf"(?<!\w){re.escape(answer)}(?!\w)")
    citations: dict[str, Citation] = {}
    for retrieval, texts in zip(reversed(retrievals), reversed(inserted), strict=True):
        for hit, text in zip(retrieval.hits, texts, strict=False):
            match = whole_words.search(hit.passage.text)
            if match and whole_words.search(text) and hit.passage.id not in citations:
                citations[hit.passage.id] = Citation(
                    hop=retrieval.hop, passage_id=hit.passage.id, start=match.start(), end=match.end()
                )
    return list(citations.values())
