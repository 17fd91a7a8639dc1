"""MuSiQue's layout: numbered paragraphs, and a question decomposition that refers to them and to earlier answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from data_builders.errors import Dropped, RecordError
from data_builders.multi_hop.fields import required_text, rows_of
from data_builders.multi_hop.relations import ask
from data_builders.rendering import Hop

_REFERENCE = re.compile(r"#(\d+)")
_RELATION_MARK = ">>"


class Paragraph(NamedTuple):
    """One of the passages of a record."""

    number: int
    title: str
    text: str
    is_supporting: bool


def is_musique(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is in this layout."""
    return record.get("paragraphs") is not None


def read_paragraphs(record: Mapping[str, Any]) -> list[Paragraph]:
    """
    Read `paragraphs`, a list of objects or a mapping of columns.

    Raises:
        `RecordError`: If one has no title or text, or two have the same `idx`.
    """
    paragraphs = []
    for place, row in enumerate(rows_of(record["paragraphs"], "paragraphs")):
        prefix = f"paragraphs[{place}]."
        number = row.get("idx", place)
        if not isinstance(number, int):
            raise RecordError("malformed_field", f"`{prefix}idx` must be a number.")
        text = required_text(row, "paragraph_text" if "paragraph_text" in row else "text", prefix)
        paragraphs.append(Paragraph(number, required_text(row, "title", prefix), text, bool(row.get("is_supporting"))))
    if len({paragraph.number for paragraph in paragraphs}) < len(paragraphs):
        raise RecordError("malformed_field", "two `paragraphs` have the same `idx`; number them.")
    return paragraphs


def check_answerable(record: Mapping[str, Any]) -> None:
    """
    Leave the unanswerable questions of MuSiQue-Full out.

    Raises:
        `Dropped`: If `answerable` is false.
    """
    if record.get("answerable") is False:
        raise Dropped("unanswerable")


def read_steps(record: Mapping[str, Any], paragraphs: list[Paragraph]) -> list[tuple[Hop, Paragraph]]:
    """
    Read `question_decomposition`, with the answers filled in that `#1`, `#2`, ... stand for.

    `The Tin Boat >> director` is asked as `Who directed The Tin Boat?`, see [`ask`].

    Args:
        record (`Mapping[str, Any]`):
            The record.
        paragraphs (`list[Paragraph]`):
            Its paragraphs.

    Returns:
        `list[tuple[Hop, Paragraph]]`: Each hop with the paragraph that answers it; none where the record has no
        decomposition.

    Raises:
        `RecordError`: If a step is malformed or names a paragraph that is not there.
    """
    by_number = {paragraph.number: paragraph for paragraph in paragraphs}
    steps: list[tuple[Hop, Paragraph]] = []
    answers: list[str] = []
    for place, step in enumerate(rows_of(record.get("question_decomposition") or [], "question_decomposition")):
        prefix = f"question_decomposition[{place}]."
        question = _fill_in(required_text(step, "question", prefix), answers)
        answers.append(required_text(step, "answer", prefix))
        number = step.get("paragraph_support_idx")
        if not isinstance(number, (int, float)) or number not in by_number:
            raise RecordError(
                "unknown_paragraph", f"`{prefix}paragraph_support_idx` is {number!r}, but no paragraph has that `idx`."
            )
        subject, mark, relation = question.rpartition(_RELATION_MARK)
        if mark and subject.strip() and relation.strip():
            question = ask(subject.strip(), relation.strip())
        paragraph = by_number[int(number)]
        steps.append((Hop(question, answers[-1], paragraph.title), paragraph))
    return steps


def _fill_in(question: str, answers: list[str]) -> str:
    def answer(match: re.Match[str]) -> str:
        number = int(match[1])
        # "#1 hit" in the first step refers to nothing.
        return answers[number - 1] if 1 <= number <= len(answers) else match[0]

    return _REFERENCE.sub(answer, question)
