"""Citation precision and recall of long answers, as ALCE defines them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .normalization import normalize_answer

Judge = Callable[[str, str], bool]
"""Takes a premise (cited passages) and a claim (a sentence): whether the premise supports the claim."""
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)\]]))\s+(?=[\"'“‘(\[]*[A-Z0-9])")


@dataclass(frozen=True)
class CitedSentence:
    """
    A sentence of a long answer.

    Attributes:
        text (`str`): Without citation marks.
        passages (`tuple[str, ...]`): The text of each passage that it cites.
    """

    text: str
    passages: tuple[str, ...] = ()


@dataclass(frozen=True)
class CitationScores:
    """Precision and recall of the citations of one answer, from 0 to 1."""

    precision: float
    recall: float


def citation_scores(sentences: Sequence[CitedSentence], supports: Judge) -> CitationScores:
    """
    Score the citations of an answer (ALCE, arXiv 2305.14627, section 3).

    - Recall is the share of sentences that all their cited passages together support; one without citations is not.
    - Precision is the share of citations that are needed: those of a supported sentence, except a passage that does
      not support the sentence alone and without which the others still do. All citations of an unsupported sentence
      are wrong. An answer that cites nothing has precision 0.

    Args:
        sentences (`Sequence[CitedSentence]`): An answer without any scores 0.
        supports (`Callable`): ALCE asks a language model of 11 billion parameters (TRUE, T5-11B);
            [`shares_words`] counts words.

    Example:

    ```python
    >>> cited = CitedSentence("The boat is red.", ("The boat is red.", "It is long."))
    >>> citation_scores([cited, CitedSentence("It floats.")], shares_words)
    CitationScores(precision=0.5, recall=0.5)
    ```
    """
    supported = needed = 0
    for sentence in sentences:
        passages = sentence.passages
        if not passages or not supports("\n".join(passages), sentence.text):
            continue
        supported += 1
        needed += sum(_is_needed(place, passages, sentence.text, supports) for place in range(len(passages)))
    citations = sum(len(sentence.passages) for sentence in sentences)
    return CitationScores(
        needed / citations if citations else 0.0,
        supported / len(sentences) if sentences else 0.0,
    )


def _is_needed(place: int, passages: Sequence[str], claim: str, supports: Judge) -> bool:
    """Whether a passage supports a claim, which all passages together do, or the others do not without it."""
    others = [*passages[:place], *passages[place + 1 :]]
    return not others or supports(passages[place], claim) or not supports("\n".join(others), claim)


def shares_words(premise: str, claim: str, share: float = 0.8) -> bool:
    """
    A judge without a model: whether most words of a claim, normalised, stand in the premise. It takes a negation for
    support and a paraphrase for none, so its scores compare systems, not papers.

    Args:
        premise (`str`)
        claim (`str`): One without words is not supported.
        share (`float`, *optional*, defaults to 0.8)
    """
    words = normalize_answer(claim).split()
    known = set(normalize_answer(premise).split())
    return bool(words) and sum(word in known for word in words) >= share * len(words)


def split_into_sentences(text: str) -> list[str]:
    """Sentences by closing punctuation before space and a capital or a digit."""
    return [sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip()]
