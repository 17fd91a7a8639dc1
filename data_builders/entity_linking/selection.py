"""Which labels become mentions of the annotated text, and why the others don't."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from data_builders.entity_linking.labels import Label, unlinkable_reason

# Older files don't flag coreferences. Words that are a title as well ("It", "US", "Her") count in lower case only.
_PRONOUNS = re.compile(
    r"[Hh]e|[Ss]he|it|its|him|her|his|[Tt]hey|[Tt]hem|[Tt]heir|hers|theirs|[Hh]imself|[Hh]erself|itself|themselves"
    r"|who|whom|whose|which|that|this|these|those|[Ii]ts|[Hh]is"
)


class Mention(NamedTuple):
    """A label that is annotated, and the document it is linked to (`None`: it is marked but not linked)."""

    label: Label
    document_id: str | None


class Selection(NamedTuple):
    """The mentions in the order of the text, and the reason of every other label by its number."""

    mentions: list[Mention]
    left_out: dict[int, str]


def select_mentions(
    labels: Sequence[Label],
    text: str,
    *,
    evaluation_span: tuple[int, int],
    resolve: Callable[[Label], str | None],
    keep_coreferences: bool = False,
    keep_unlinkable: bool = False,
    asked_for: Callable[[Label], bool | None] | None = None,
) -> Selection:
    """
    Choose the labels to annotate. Every label is a mention or left out for exactly one reason, the first that holds:

    | reason | label |
    |---|---|
    | `empty_span` | no character, or white space only |
    | `out_of_range` | begins before the text or ends after it |
    | `outside_evaluation_span` | not wholly inside the part that the source says is labelled |
    | `coreference` | flagged as one, or a pronoun (unless kept) |
    | `other_kind` | of a kind that is not asked for |
    | `uncertain_kind` | perhaps of such a kind |
    | `nil`, `no_mapping`, `datetime`, `quantity` | names no entity of a knowledge base (unless kept) |
    | `not_in_catalogue` | its entity has no document (unless kept) |
    | `duplicate` | same span and entity as an earlier label |
    | `same_span` | same span as a label that is kept, but another entity |
    | `nested` | inside a label that is kept |
    | `overlap` | crosses a label that is kept |

    Mentions cannot nest in the annotated text. Of overlapping labels the longest wins, so of nested ones the
    outermost: ELEVANT counts the outermost label of a group, and its parts only where a system chose them instead.
    Labels of one span go by their depth in the source's `parent` chain, then by file order. A label that is left out
    for another reason hides nothing: the parts of an unlinkable whole are annotated.

    Args:
        labels (`Sequence[Label]`): All labels of the text.
        text (`str`): The text.
        evaluation_span (`tuple[int, int]`): The labelled part.
        resolve (`Callable[[Label], str | None]`): The document of a label's entity.
        keep_coreferences (`bool`, *optional*, defaults to `False`): Annotate coreferences.
        keep_unlinkable (`bool`, *optional*, defaults to `False`): Annotate mentions without a document, unlinked.
        asked_for (`Callable[[Label], bool | None]`, *optional*): Whether a label is of a kind to annotate; `None` if
            that cannot be said. By default all are.

    Returns:
        `Selection`: Mentions and reasons; together they are all labels.
    """
    left_out: dict[int, str] = {}
    candidates: list[Mention] = []
    seen: set[tuple[int, int, str]] = set()
    for label in labels:
        document_id = None
        reason = _misplaced(label, text, evaluation_span)
        if reason is None and not keep_coreferences and is_coreference(label, text):
            reason = "coreference"
        if reason is None and asked_for is not None:
            reason = {True: None, False: "other_kind", None: "uncertain_kind"}[asked_for(label)]
        if reason is None:
            unlinkable = unlinkable_reason(label)
            if unlinkable is None:
                document_id = resolve(label)
                unlinkable = "not_in_catalogue" if document_id is None else None
            reason = None if keep_unlinkable else unlinkable
        if reason is None:
            identity = (label.start, label.end, document_id or label.entity_id)
            reason = "duplicate" if identity in seen else None
            seen.add(identity)
        if reason is None:
            candidates.append(Mention(label, document_id))
        else:
            left_out[label.number] = reason
    kept = _without_overlaps(candidates, {label.key: label for label in labels if label.key}, left_out)
    return Selection(kept, left_out)


def is_coreference(label: Label, text: str) -> bool:
    """Whether a label is flagged as a coreference or its mention is a pronoun."""
    return label.coref or _PRONOUNS.fullmatch(text[label.start : label.end].strip()) is not None


def _misplaced(label: Label, text: str, evaluation_span: tuple[int, int]) -> str | None:
    if label.start >= label.end:
        return "empty_span"
    if label.start < 0 or label.end > len(text):
        return "out_of_range"
    if not text[label.start : label.end].strip():
        return "empty_span"
    if label.start < evaluation_span[0] or label.end > evaluation_span[1]:
        return "outside_evaluation_span"
    return None


def _without_overlaps(
    candidates: list[Mention], by_key: Mapping[str, Label], left_out: dict[int, str]
) -> list[Mention]:
    def rank(mention: Mention) -> tuple[int, int, int, int]:
        label = mention.label
        return (label.start - label.end, _depth(label, by_key), label.start, label.number)

    kept: list[Mention] = []
    for mention in sorted(candidates, key=rank):
        label = mention.label
        rivals = [other.label for other in kept if label.start < other.label.end and other.label.start < label.end]
        if not rivals:
            kept.append(mention)
        elif any((rival.start, rival.end) == (label.start, label.end) for rival in rivals):
            left_out[label.number] = "same_span"
        elif any(rival.start <= label.start and label.end <= rival.end for rival in rivals):
            left_out[label.number] = "nested"
        else:
            left_out[label.number] = "overlap"
    return sorted(kept, key=lambda mention: mention.label.start)


def _depth(label: Label, by_key: Mapping[str, Label]) -> int:
    # Labels of equal spans are each other's parents in some files, so a chain may be a circle.
    passed: set[str] = set()
    parent = label.parent
    while parent is not None and parent in by_key and parent not in passed:
        passed.add(parent)
        parent = by_key[parent].parent
    return len(passed)
