"""What went wrong with a mention: its gold entity beside the one that it was linked to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...data.passages import Passage
from ..linking.documents import LinkingDocument
from .failures import Case, Hop

KINDS = {"entity": "wrong entity", "missed": "mention not found", "spurious": "no mention there"}
"""Kind of a failure → what the page calls it."""
CONTEXT = 80
"""Characters shown around a mention."""
NIL = "NIL"


def linking_cases(
    name: str,
    documents: Sequence[LinkingDocument],
    predictions: Sequence[Sequence[Mapping[str, Any]]],
    entity_of: Callable[[str], Passage | None],
) -> list[Case]:
    """
    Put mentions beside the gold ones: each gold mention is a case, and each linked mention where there is none. Spans
    must be equal. Mentions that need not be found are cases only where they were linked to a wrong entity.

    Args:
        name (`str`): Of the data set.
        documents (`Sequence[LinkingDocument]`)
        predictions (`Sequence[Sequence[Mapping]]`): For each document its mentions, as they were written to the output
            directory.
        entity_of (`Callable`): Id → entity, such as [`PassageIndex.get`].
    """
    cases: list[Case] = []
    for document, mentions in zip(documents, predictions, strict=True):
        linked = {(mention["start"], mention["end"]): mention for mention in mentions}
        labels = {(label.start, label.end): label for label in document.gold}
        # A label without an entity of the catalogue is no place for a spurious mention either.
        known = {*labels, *((label["span"][0], label["span"][1]) for label in document.labels)}
        spurious = [
            span
            for span, mention in linked.items()
            if span not in known and mention["entity_id"] != NIL and _within(span, document.evaluation_span)
        ]
        for span in sorted([*labels, *spurious]):
            label, mention = labels.get(span), linked.get(span)
            if label is not None and label.optional and mention is None:
                continue
            gold = [] if label is None else [_entity(str(label.entity_id), None, entity_of)]
            found = [] if mention is None else [_entity(mention["entity_id"], mention, entity_of)]
            right = None if label is None else mention is not None and mention["entity_id"] == label.entity_id
            kind = "spurious" if label is None else "missed" if mention is None else "entity"
            hop = Hop(document.text[slice(*span)], gold, found, right)
            cases.append(
                Case(document.id, _context(document.text, span), name, (), None, [hop], () if right else (kind,))
            )
    return cases


def _within(span: tuple[int, int], outer: tuple[int, int]) -> bool:
    return outer[0] <= span[0] and span[1] <= outer[1]


def _entity(
    identifier: str, mention: Mapping[str, Any] | None, entity_of: Callable[[str], Passage | None]
) -> dict[str, Any]:
    entity = None if identifier == NIL else entity_of(identifier)
    shown = {"title": "", "text": ""} if entity is None else {"title": entity.title, "text": entity.text}
    return {**shown, "id": identifier, "score": None if mention is None else mention["score"]}


def _context(text: str, span: tuple[int, int]) -> str:
    start, end = max(span[0] - CONTEXT, 0), min(span[1] + CONTEXT, len(text))
    before, after = "… " if start else "", " …" if end < len(text) else ""
    return f"{before}{text[start : span[0]]}[{text[slice(*span)]}]{text[span[1] : end]}{after}"
