"""Long answers: the sentences of a result with the passages that they cite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..metrics.citations import CitedSentence, citation_scores, shares_words, split_into_sentences


def cited_sentences(result: Mapping[str, Any]) -> list[CitedSentence]:
    """
    The sentences of an answer that was made with critique. Each cites the passage that its segment was written after.

    Args:
        result (`Mapping`): As `pipeline("onegen-rag")` returns it with `critique`.
    """
    passages = {
        candidate["passage"]["id"]: f"{candidate['passage']['title']}\n{candidate['passage']['text']}"
        for candidate in result["candidates"]
        if candidate["passage"] is not None
    }
    return [
        CitedSentence(sentence, () if segment["passage_id"] is None else (passages[segment["passage_id"]],))
        for segment in result["segments"]
        if not segment["left_out"]
        for sentence in split_into_sentences(segment["text"])
    ]


def citation_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """`citation_precision` and `citation_recall` of a result, judged by [`shares_words`]; none without critique."""
    if "segments" not in result:
        return {}
    scores = citation_scores(cited_sentences(result), shares_words)
    return {"citation_precision": scores.precision, "citation_recall": scores.recall}
