"""Self-RAG's output format: reflection tokens, and passages between `<paragraph>` and `</paragraph>`."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from data_builders.errors import Dropped, RecordError
from data_builders.rendering import PARAGRAPH_END, PARAGRAPH_START

RETRIEVAL = "[Retrieval]"
RELEVANT, IRRELEVANT = "[Relevant]", "[Irrelevant]"
REFLECTION_TOKENS = (
    "[No Retrieval]", RETRIEVAL, "[Continue to Use Evidence]", IRRELEVANT, RELEVANT,
    "[Fully supported]", "[Partially supported]", "[No support / Contradictory]",
    "[Utility:1]", "[Utility:2]", "[Utility:3]", "[Utility:4]", "[Utility:5]",
)  # fmt: skip
"""Self-RAG, arXiv 2310.11511, table 1. `RetrievalTokens.self_rag()` adds the same ones to the vocabulary."""

Relevance = Literal["relevant", "irrelevant", "unjudged"]
_TAG = re.compile(f"({re.escape(PARAGRAPH_START)}|{re.escape(PARAGRAPH_END)})")
_REFLECTION = re.compile("|".join(map(re.escape, REFLECTION_TOKENS)))
_UTILITY = re.compile(r"\[Utility:([1-5])\]")


class Evidence(NamedTuple):
    """A passage in an output: its title and its text; both empty where nothing was found."""

    title: str
    text: str


class Segment(NamedTuple):
    """
    What follows one retrieval, or the beginning of the output.

    `evidence` holds the passages, none for the beginning; `text` is what the model writes, reflection tokens included;
    `relevance` is the judgement of the passages.
    """

    evidence: tuple[Evidence, ...]
    text: str
    relevance: Relevance


def parse_output(output: str) -> list[Segment]:
    """
    Cut an output at its retrievals.

    Passages one after the other, with nothing but space between them, are one retrieval. The first judgement behind
    them holds for all of them.

    Args:
        output (`str`):
            The field `output` of a training record.

    Returns:
        `list[Segment]`: The beginning (its text may be empty), then one segment per retrieval.

    Raises:
        `RecordError`: If the paragraph tags do not pair up.
        `Dropped`: If `[Retrieval]` is not followed by a passage, since decoding always inserts one.
    """
    texts, passages = _split(output)
    segments = [Segment((), texts[0], "unjudged")]
    for evidence, text in zip(passages, texts[1:], strict=True):
        before = segments[-1]
        if before.evidence and not before.text.strip():
            segments[-1] = Segment((*before.evidence, evidence), text, _relevance(text))
        else:
            segments.append(Segment((evidence,), text, _relevance(text)))
    segments = [
        # Space between the decision and the passage would stand between the query token and what it brings in.
        segment._replace(text=segment.text.rstrip()) if segment.text.rstrip().endswith(RETRIEVAL) else segment
        for segment in segments
    ]
    for number, segment in enumerate(segments):
        bare = segment.text.removesuffix(RETRIEVAL) if number < len(segments) - 1 else segment.text
        if RETRIEVAL in bare:
            raise Dropped("retrieval_without_passage")
    return segments


def plain_text(segments: list[Segment]) -> str:
    """What an output says: without passages and reflection tokens, with single spaces."""
    return " ".join(_REFLECTION.sub(" ", " ".join(segment.text for segment in segments)).split())


def utility(segments: list[Segment]) -> int | None:
    """The last `[Utility:n]` of an output."""
    found = _UTILITY.findall("".join(segment.text for segment in segments))
    return int(found[-1]) if found else None


def _split(output: str) -> tuple[list[str], list[Evidence]]:
    texts, passages, inside = [""], list[Evidence](), False
    for piece in _TAG.split(output):
        if piece in (PARAGRAPH_START, PARAGRAPH_END):
            if inside == (piece == PARAGRAPH_START):
                raise _unbalanced(output, piece)
            inside = not inside
            if inside:
                passages.append(Evidence("", ""))
            else:
                texts.append("")
        elif inside:
            passages[-1] = _evidence(piece)
        else:
            texts[-1] = piece
    if inside:
        raise _unbalanced(output, PARAGRAPH_START)
    return texts, passages


def _unbalanced(output: str, tag: str) -> RecordError:
    return RecordError(
        "unbalanced_paragraph",
        f"`output` has a {tag} without its counterpart, near {output[max(output.rfind(tag), 0) :][:60]!r}; every "
        f"passage stands between one {PARAGRAPH_START} and one {PARAGRAPH_END}.",
    )


def _evidence(content: str) -> Evidence:
    title, _, text = content.strip().partition("\n")
    # A single line is a text without a title.
    return Evidence(title.strip(), text.strip()) if text.strip() else Evidence("", title.strip())


def _relevance(text: str) -> Relevance:
    found = re.search(f"{re.escape(RELEVANT)}|{re.escape(IRRELEVANT)}", text)
    if found is None:
        return "unjudged"
    return "relevant" if found[0] == RELEVANT else "irrelevant"
