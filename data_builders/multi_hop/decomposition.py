"""Where the hops of a question come from: the record, its evidences, a side file, a model, or a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from data_builders.errors import RecordError
from data_builders.multi_hop.evidences import hops_from_facts, read_facts
from data_builders.multi_hop.fields import required_text, rows_of, supporting_titles
from data_builders.multi_hop.heuristic import heuristic_hops
from data_builders.multi_hop.llm import LlmDecomposer, Question
from data_builders.multi_hop.side_file import SideFile
from data_builders.rendering import Hop

TextOf = Callable[[str], str]


class Decomposition(NamedTuple):
    """
    The hops of a question.

    Args:
        hops (`list[Hop]`):
            In the order in which they can be answered.
        origin (`str`):
            `"given"`, `"evidences"`, `"musique"`, `"side_file"`, `"llm"` or `"heuristic"`.
        failure (`str`, *optional*):
            Why a better origin did not serve.
    """

    hops: list[Hop]
    origin: str
    failure: str | None = None


def read_hops(steps: Any) -> list[Hop]:
    """
    Read a decomposition that is given.

    Args:
        steps (`Any`):
            `[{"sub_question", "answer", "title"}, ...]`, or the same as columns; `answer` may be missing.

    Returns:
        `list[Hop]`: The hops.

    Raises:
        `RecordError`: If a step is malformed.
    """
    if not isinstance(steps, Mapping) and not (isinstance(steps, list) and all(isinstance(s, Mapping) for s in steps)):
        raise RecordError(
            "malformed_field", "`decomposition` must be a list of objects {sub_question, answer, title}."
        )
    hops = []
    for number, step in enumerate(rows_of(steps, "decomposition")):
        prefix, answer = f"decomposition[{number}].", step.get("answer")
        if answer is not None and not isinstance(answer, str):
            raise RecordError("malformed_field", f"`{prefix}answer` must be text; quote it.")
        field = "question" if "sub_question" not in step and "question" in step else "sub_question"
        hops.append(Hop(required_text(step, field, prefix), answer or None, required_text(step, "title", prefix)))
    return hops


def decompose(
    record: Mapping[str, Any],
    text_of: TextOf,
    *,
    question_id: str,
    side_file: SideFile | None = None,
    llm: LlmDecomposer | None = None,
) -> Decomposition:
    """
    Find the hops of a HotpotQA-style record: from the side file, the record's `decomposition`, its `evidences`, the
    model, or else by the rule of [`heuristic_hops`]; the first that has any.

    Args:
        record (`Mapping[str, Any]`):
            The record, decoded.
        text_of (`Callable[[str], str]`):
            The text of a supporting passage by its title.
        question_id (`str`):
            Its id.
        side_file (`SideFile`, *optional*):
            Decompositions by id.
        llm (`LlmDecomposer`, *optional*):
            Writes them.

    Returns:
        `Decomposition`: The hops and where they are from.

    Raises:
        `RecordError`: If what is there is malformed, or there is nothing to make hops of.
        `ConnectionError`: If the model can't be reached.
    """
    if side_file is not None and (steps := side_file.get(question_id)):
        return Decomposition(read_hops(steps), "side_file")
    if record.get("decomposition"):
        return Decomposition(read_hops(record["decomposition"]), "given")
    failure = None
    titles = supporting_titles(record)
    if evidences := record.get("evidences") or record.get("evidence"):
        try:
            return Decomposition(hops_from_facts(read_facts(evidences), titles, text_of), "evidences")
        except RecordError as error:
            if error.reason == "malformed_field":
                raise
            failure = error.reason
    if llm is not None:
        hops = llm.hops(as_question(record, text_of, question_id))
        if hops is not None:
            return Decomposition(hops, "llm")
        failure = "invalid_reply"
    hops = heuristic_hops(required_text(record, "question"), titles, text_of)
    return Decomposition(hops, "heuristic", failure)


def as_question(record: Mapping[str, Any], text_of: TextOf, question_id: str) -> Question:
    """The part of a record that a model sees."""
    passages = tuple((title, text_of(title)) for title in supporting_titles(record))
    return Question(question_id, required_text(record, "question"), required_text(record, "answer"), passages)
