"""What `pipeline("onegen-rag")` returns: objects with attributes that are still plain dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.attribute_dict import AttributeDict
from ..index.retrieved_passage import RetrievedPassage
from .critique import CandidateResult, SegmentResult


class RetrievalResult(AttributeDict):
    """
    One hop.

    Attributes:
        hop (`int`): 0 for the first.
        query (`str`): What the model asked for: the line that it wrote before the query token, or the question where
            it wrote nothing.
        position (`int`): Characters of the result's `content` in front of the query token.
        passages (`list[RetrievedPassage]`): Best first.
    """

    hop: int
    query: str
    position: int
    passages: list[RetrievedPassage]


class UsageResult(AttributeDict):
    """
    Token counts; see [`~onegen_hf.generation.Usage`].
    """

    prompt_tokens: int
    generated_tokens: int
    retrieved_tokens: int
    forwarded_tokens: int
    forward_calls: int
    rejected_tokens: int


class Citation(AttributeDict):
    """
    Where the answer stands in a retrieved passage; see [`~onegen_hf.pipelines.citations.cite`] for the rule.

    Attributes:
        hop (`int`): The retrieval.
        passage_id (`str`)
        start, end (`int`): The span in the passage's `text`, in characters: `text[start:end]` is the cited text.
    """

    hop: int
    passage_id: str
    start: int
    end: int


class RagResult(AttributeDict):
    """
    The result for one question.

    Attributes:
        answer (`str`): Empty if the model wrote none.
        answered (`bool`): Whether the model wrote an answer: text after the checkpoint's `answer_prefix`, which is
            `"Answer:"` by default, that `answer_threshold` does not withhold.
        confidence (`float`, *optional*): Of an answer: `retrieval_confidence * answer_confidence`. `None` if there is
            no answer, or one of the two is `None`.
        retrieval_confidence (`float`, *optional*): The lowest over the hops of the best passage's score, a cosine.
            `None` if nothing was retrieved.
        answer_confidence (`float`, *optional*): How probable the answer is to the model, from 0 to 1: the geometric
            mean of the probabilities of its tokens, see
            [`~onegen_hf.generation.answer_confidence.answer_confidence`]. Also of an answer that is withheld; `None`
            if the model wrote none.
        answer_threshold (`float`, *optional*): An answer whose `retrieval_confidence` is lower is withheld: `answer`
            is empty, and `text` holds what was written. `None` if there is no threshold.
        citations (`list[Citation]`): The retrieved passages in which the answer stands, latest hop first.
        content (`str`): All that the model wrote, without the inserted paragraphs and the retrieval tokens.
        text (`str`): All that was generated, with the inserted paragraphs and the retrieval tokens.
        retrievals (`list[RetrievalResult]`): One per hop.
        usage (`UsageResult`)
        stop_reason (`str`): `"eos"`, `"max_new_tokens"`, `"context_full"` or `"stopping_criteria"`; with critique also
            `"max_segments"`, as may be `retrieval_stopped`.
        retrieval_stopped (`str`, *optional*): `"max_hops"`, `"context_full"` or `"never"` if nothing more could be
            retrieved.
        score (`float`): With critique: the mean score of the answer's segments.
        segments (`list[SegmentResult]`): With critique: the parts of the answer, each with the passage that it cites.
        candidates (`list[CandidateResult]`): With critique: all segments that were weighed, with their parts.
        answer_scores (`dict[str, float]`): With `closed_set`: the sums of the scores per answer, best first.
    """

    answer: str
    answered: bool
    confidence: float | None
    retrieval_confidence: float | None
    answer_confidence: float | None
    answer_threshold: float | None
    citations: list[Citation]
    content: str
    text: str
    retrievals: list[RetrievalResult]
    usage: UsageResult
    stop_reason: str
    retrieval_stopped: str | None
    score: float
    segments: list[SegmentResult]
    candidates: list[CandidateResult]
    answer_scores: dict[str, float]

    def as_message(self) -> dict[str, Any]:
        """
        The assistant's turn, for a chat that goes on. What was retrieved in it stays: the next prompt holds the
        passages where they were inserted. Nothing of an answer that was withheld stays.

        Example:

        ```python
        >>> chat = [{"role": "user", "content": "Who directed Titanic?"}]
        >>> chat += [rag(chat).as_message(), {"role": "user", "content": "Where was he born?"}]
        >>> rag(chat)
        ```
        """
        if is_withheld(self):
            return {"role": "assistant", "content": ""}
        return {"role": "assistant", "content": self.content, "retrievals": inserted_retrievals(self)}


def inserted_retrievals(result: Mapping[str, Any]) -> list[RetrievalResult]:
    """
    The hops of a result with the passages that its text was written after: with critique, the first of each hop alone.

    Args:
        result (`Mapping`): As `pipeline("onegen-rag")` returns it.
    """
    hops: list[RetrievalResult] = result["retrievals"]
    if "candidates" not in result:
        return hops
    return [RetrievalResult({**hop, "passages": hop["passages"][:1]}) for hop in hops]


def is_withheld(result: Mapping[str, Any]) -> bool:
    """
    Whether a threshold is the reason for which a result has no answer.

    Args:
        result (`Mapping`): As `pipeline("onegen-rag")` returns it.
    """
    score, threshold = result.get("retrieval_confidence"), result.get("answer_threshold")
    return not result["answer"] and score is not None and threshold is not None and score < threshold
