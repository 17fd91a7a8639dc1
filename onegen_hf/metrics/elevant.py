"""ELEVANT's entity-linking scores: nested and optional labels, spans compared at word boundaries (its InKB mode)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .entity_linking import LinkingCounts
from .mentions import known_entity, read_mention

Span = tuple[int, int]
Outcome = frozenset[str]

TIMES_AND_QUANTITIES = ("DATETIME", "QUANTITY")
NOTHING: Outcome = frozenset()
TP, FP, FN = frozenset({"tp"}), frozenset({"fp"}), frozenset({"fn"})


@dataclass
class Label:
    """
    A gold label with what is nested in it. `nil` is an entity that the knowledge base lacks, not a date or a quantity;
    `counts` tells whether the label is scored itself, or through its children.
    """

    span: Span
    entity_id: str | None
    optional: bool
    kind: str
    nil: bool
    parent: Label | None = None
    children: list[Label] = field(default_factory=list)
    counts: bool = False

    @property
    def known(self) -> bool:
        """Whether it is an entity of the knowledge base; dates and quantities are none, whatever their id."""
        return self.entity_id is not None and self.kind not in TIMES_AND_QUANTITIES

    def has_required_descendant(self) -> bool:
        """Whether any label inside of it must be found."""
        return any(not child.optional or child.has_required_descendant() for child in self.children)


@dataclass(frozen=True)
class Prediction:
    """A predicted mention; without an entity it says that the knowledge base has none."""

    entity_id: str | None
    kind: str = ""


def elevant_counts(
    predictions: Sequence[Any],
    document: Mapping[str, Any],
    redirects: Mapping[str, str] | None = None,
    known_ids: Collection[str] | None = None,
) -> LinkingCounts:
    """
    Counts of one document as ELEVANT makes them (`case_generator.py` and `case.py`, mode "ignored", that is InKB).

    - A label is found by a prediction of the same span, also after both are widened to word boundaries.
    - Of nested labels, the outermost counts once: as itself where it was linked rightly, else through the innermost
      ones that were found. It is found if all of those are right.
    - An optional label (also a quantity or a date) is no error if it is missed, unless something required is nested in
      it, and no credit if it is right.
    - Labels and predictions without an entity of the knowledge base are left out.
    - Predictions outside of `evaluation_span` are no errors.

    Args:
        predictions (`Sequence`): Mentions in a layout of [`read_mention`]. Of several with one span the last counts.
        document (`Mapping`): `text`, `labels` (with `span`, `entity_id`, and optionally `id`, `parent`, `children`,
            `optional`, `type`) and optionally `evaluation_span`.
        redirects (`Mapping[str, str]`, *optional*): See [`read_mention`].
        known_ids (`Collection[str]`, *optional*): See [`read_mention`].

    Returns:
        `LinkingCounts`: Over all documents, ELEVANT's score is the micro one of [`summarize_counts`]. That a date was
        linked to another date, which is no error, shows only if the prediction has the `type`.

    Raises:
        `ValueError`: If a mention is malformed, or a label names a parent or child that is not there.
    """
    text = document["text"]
    labels = read_labels(document["labels"], redirects, known_ids)
    found: dict[Span, Prediction] = {}
    for record in predictions:
        mention = read_mention(record, redirects, known_ids)
        kind = str(record.get("type") or "") if isinstance(record, Mapping) else ""
        found[mention.start, mention.end] = Prediction(mention.entity_id, kind)
    matcher = _Matcher(text, {**found, **{word_boundary(span, text): other for span, other in found.items()}})
    roots = [label for label in labels if label.parent is None]
    for label in roots:
        matcher.decide(label)
    outcomes = [matcher.root_outcome(label) for label in roots]
    start, end = document.get("evaluation_span") or (0, len(text))
    gold_spans = {span for label in labels for span in (label.span, word_boundary(label.span, text))}
    false = sum("fp" in matcher.outcome(label) for label in labels if label.counts)
    false += sum(
        other.entity_id is not None
        and not {span, word_boundary(span, text)} & gold_spans
        and start <= span[0]
        and span[1] <= end
        for span, other in found.items()
    )
    return LinkingCounts(sum("tp" in out for out in outcomes), false, sum("fn" in out for out in outcomes))


def read_labels(
    records: Sequence[Mapping[str, Any]],
    redirects: Mapping[str, str] | None = None,
    known_ids: Collection[str] | None = None,
) -> list[Label]:
    """Labels with their nesting, in the order of the records."""
    labels: dict[Any, Label] = {}
    for number, record in enumerate(records):
        mention = read_mention({**record, "entity_id": record.get("entity_id")})
        kind = str(record.get("type") or "")
        entity_id = known_entity(mention.entity_id, redirects, known_ids)
        nil = entity_id is None and record.get("entity_id") not in TIMES_AND_QUANTITIES
        span = mention.start, mention.end
        labels[record.get("id", number)] = Label(span, entity_id, mention.optional, kind, nil)
    if len(labels) < len(records):
        raise ValueError(f"labels: an id stands for more than one of the {len(records)} labels. Make ids unique.")
    for record, label in zip(records, labels.values(), strict=True):
        parent, children = record.get("parent"), record.get("children") or []
        missing = [other for other in (*children, *([] if parent is None else [parent])) if other not in labels]
        if missing:
            raise ValueError(f"label {record.get('id')!r} refers to the label {missing[0]!r}, which is not there")
        label.parent = None if parent is None else labels[parent]
        label.children = [labels[child] for child in children]
    return list(labels.values())


def word_boundary(span: Span, text: str) -> Span:
    """
    A span widened to whole words; quotation marks, apostrophes and underscores belong to a word.

    As in ELEVANT, the last character of the text is never taken in, and an opening quotation mark without a closing
    one inside the span is left out again.
    """
    start, end = span
    while start > 0 and _in_word(text[start - 1]):
        start -= 1
    while end < len(text) - 1 and _in_word(text[end]):
        end += 1
    if text[start] == '"' and '"' not in text[start + 1 : end]:
        start += 1
    return start, end


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "'\"_"


class _Matcher:
    """Decides which labels count, and how each came out."""

    def __init__(self, text: str, predictions: Mapping[Span, Prediction]) -> None:
        self.text = text
        self.predictions = predictions

    def prediction(self, label: Label) -> Prediction | None:
        exact = self.predictions.get(label.span)
        return exact if exact is not None else self.predictions.get(word_boundary(label.span, self.text))

    def decide(self, label: Label, as_sibling: bool = False) -> bool:
        """Set `counts` of a label and of those in it; returns whether any of them counts."""
        detected, right = self._detected(label)
        if detected and right:
            counts = inner = True
        else:
            inner = any([self.decide(child) for child in label.children])
            counts = not inner if label.parent is None else not inner and self._counts(label, detected, as_sibling)
        if not as_sibling:
            label.counts = counts
        return counts if label.parent is None else counts or inner

    def _detected(self, label: Label) -> tuple[bool, bool]:
        """Whether there is a prediction, and whether it is right. Without an entity it counts at its own span only."""
        exact = self.predictions.get(label.span)
        if exact is not None and exact.entity_id is None:
            return True, label.nil
        other = self.prediction(label)
        if other is None or other.entity_id is None:
            return False, False
        return True, other.entity_id == label.entity_id

    def _counts(self, label: Label, detected: bool, as_sibling: bool) -> bool:
        assert label.parent is not None
        if detected:
            return word_boundary(label.parent.span, self.text) != word_boundary(label.span, self.text)
        siblings = [other for other in label.parent.children if other is not label]
        # A label that was missed is an error only beside one that was found; else its parent is the error.
        return not as_sibling and any(self.decide(other, as_sibling=True) for other in siblings)

    def outcome(self, label: Label) -> Outcome:
        """How a label that counts came out by itself."""
        other = self.prediction(label)
        if other is None:
            excused = label.optional and not (label.parent is None and label.has_required_descendant())
            return FN if label.known and not excused else NOTHING
        right = label.known and other.entity_id == label.entity_id
        if label.optional:
            same_kind = label.kind in TIMES_AND_QUANTITIES and other.kind == label.kind
            return NOTHING if other.entity_id is None or right or same_kind else FP
        if not label.known:
            return NOTHING if other.entity_id is None else FP
        if other.entity_id is None:
            return FN
        return TP if right else FN | FP

    def root_outcome(self, label: Label) -> Outcome:
        """How an outermost label came out, by itself or through the labels in it."""
        if label.counts:
            return self.outcome(label)
        inside = frozenset(result for inner in _descendants(label) if inner.counts for result in self.outcome(inner))
        return FN if "fn" in inside else inside if inside == TP else NOTHING


def _descendants(label: Label) -> list[Label]:
    return [inner for child in label.children for inner in (child, *_descendants(child))]
