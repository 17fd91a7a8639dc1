"""The four short-form tasks that Self-RAG is evaluated on: which one a record is, its question, its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data_builders.errors import RecordError
from data_builders.text_fields import optional_text_field, text_field

METRICS = {
    "popqa": "match",
    "triviaqa": "match",
    "pubhealth": "accuracy",
    "arc_challenge": "accuracy",
    "asqa": "str_em",
}
"""What each task reports (Self-RAG, arXiv 2310.11511, section 4.1)."""

INSTRUCTIONS = {
    "pubhealth": "Is this statement correct? Answer true if it is, else false.",
    "arc_challenge": "Choose the best of the answers below and give its letter.",
}
"""What stands before the question of a task whose answers are labels, unless the record brings an instruction."""

OFFICIAL_INSTRUCTIONS = {
    "pubhealth": "Is the following statement correct or not? Say true if it's correct; otherwise say false.",
    "arc_challenge": "Given four answer candidates, A, B, C and D, choose the best answer choice.",
    "asqa": (
        "Answer the following question. The question may be ambiguous and have multiple correct answers, and in that "
        "case, you have to provide a long-form answer including all correct answers."
    ),
}
"""The instructions of Self-RAG's evaluation scripts (`TASK_INST` of `retrieval_lm/utils.py`)."""
_OFFICIAL_INPUT = {"pubhealth": "\n\n## Input:\n\n", "arc_challenge": "\n\n### Input:\n", "asqa": "## Input:\n\n"}
"""What stands between instruction and question there."""

_VERDICTS = {"true": "true", "false": "false", "supports": "true", "refutes": "false"}
_LETTERS = "ABCDEFGH"


class Choice(NamedTuple):
    """One answer to choose from."""

    label: str
    text: str


def detect_task(record: Mapping[str, Any]) -> str:
    """
    Tell the task of a record: ARC has `choices`, ASQA `qa_pairs`, PubHealth's answers are verdicts, PopQA names a
    property or the popularity of its subject, and the rest is open questions as in TriviaQA.

    Args:
        record (`Mapping[str, Any]`):
            The record.

    Returns:
        `str`: A key of [`METRICS`].
    """
    if _raw_choices(record) is not None:
        return "arc_challenge"
    if record.get("qa_pairs"):
        return "asqa"
    if {"possible_answers", "s_pop", "prop"} & set(record):
        return "popqa"
    answers = _answer_texts(record)
    if answers and all(answer.lower() in _VERDICTS for answer in answers):
        return "pubhealth"
    return "triviaqa"


def read_answers(record: Mapping[str, Any], task: str) -> list[str]:
    """
    Read the answers: of `answers`, `answerKey`, `possible_answers` (PopQA writes the list as text), `answer` or
    `output`, the first of them that is there.

    Args:
        record (`Mapping[str, Any]`):
            The record.
        task (`str`):
            Its task. ARC's numbers become letters, PubHealth's verdicts `"true"` and `"false"`.

    Returns:
        `list[str]`: The answers, each once.

    Raises:
        `RecordError`: If there is none, or none of the labels that the task has.
    """
    if task == "asqa":
        return list(dict.fromkeys(answer for pair in read_qa_pairs(record) for answer in pair["short_answers"]))
    answers = _answer_texts(record)
    if not answers:
        raise RecordError("missing_field", "the record has no answer; add `answers`, a list of texts.")
    if task == "pubhealth":
        unknown = [answer for answer in answers if answer.lower() not in _VERDICTS]
        if unknown:
            raise RecordError("unknown_label", f"the answer {unknown[0]!r} is no verdict; give true or false.")
        answers = [_VERDICTS[answer.lower()] for answer in answers]
    if task == "arc_challenge":
        labels = {choice.label for choice in read_choices(record)}
        answers = [_letter(answer) for answer in answers]
        if not labels.issuperset(answers):
            raise RecordError(
                "unknown_label", f"the answers {answers} are not among the choices {sorted(labels)}; mend one of them."
            )
    return list(dict.fromkeys(answers))


def read_choices(record: Mapping[str, Any]) -> list[Choice]:
    """
    Read ARC's choices: `{"text": [...], "label": [...]}`, or a list of `{"text", "label"}`, in the record or (as in
    the original files) in its `question`.

    Args:
        record (`Mapping[str, Any]`):
            The record.

    Returns:
        `list[Choice]`: The choices, labelled with letters; none if the record has none.

    Raises:
        `RecordError`: If they are malformed.
    """
    raw = _raw_choices(record)
    if raw is None:
        return []
    if isinstance(raw, Mapping):
        texts, labels = raw.get("text"), raw.get("label")
        if not isinstance(texts, list) or not isinstance(labels, list) or len(texts) != len(labels):
            raise RecordError("malformed_field", "`choices` needs `text` and `label`, lists of the same length.")
        pairs = list(zip(labels, texts, strict=True))
    elif isinstance(raw, list) and all(isinstance(choice, Mapping) for choice in raw):
        pairs = [(choice.get("label"), choice.get("text")) for choice in raw]
    else:
        raise RecordError("malformed_field", "`choices` must hold `text` and `label`.")
    if not all(isinstance(text, str) and isinstance(label, (str, int)) for label, text in pairs):
        raise RecordError("malformed_field", "every text and label of `choices` must be text.")
    return [Choice(_letter(str(label)), text.strip()) for label, text in pairs]


def read_qa_pairs(record: Mapping[str, Any]) -> list[dict[str, list[str]]]:
    """
    Read the readings of an ASQA question: `qa_pairs` with `short_answers` each.

    Raises:
        `RecordError`: If they are missing or malformed.
    """
    pairs = record.get("qa_pairs")
    if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, Mapping) for pair in pairs):
        raise RecordError("missing_field", "`qa_pairs` must be a list of objects with `short_answers`.")
    read = [{"short_answers": [str(text) for text in _as_list(pair.get("short_answers"))]} for pair in pairs]
    if not all(pair["short_answers"] for pair in read):
        raise RecordError("missing_field", "every entry of `qa_pairs` needs `short_answers`, a list of texts.")
    return read


def read_official_prompt(record: Mapping[str, Any], task: str) -> tuple[str, str]:
    """
    Read the question and write the user's message as Self-RAG's evaluation scripts do: instruction, `## Input:` and
    question; ARC's choices as `A: ...`, with an empty `D` where there are three; open questions alone.

    Raises:
        `RecordError`: As [`read_prompt`].
    """
    question, _ = read_prompt({key: value for key, value in record.items() if key != "instruction"}, task, "")
    if task not in OFFICIAL_INSTRUCTIONS:
        return question, question
    message = OFFICIAL_INSTRUCTIONS[task] + _OFFICIAL_INPUT[task] + question
    choices = {choice.label: choice.text for choice in read_choices(record)}
    if choices:
        labels = [*"ABCD", *(label for label in choices if label not in "ABCD")]
        message += "".join(f"\n{label}: {choices.get(label, '')}" for label in labels)
    return question, message


def read_prompt(record: Mapping[str, Any], task: str, instruction: str | None = None) -> tuple[str, str]:
    """
    Read the question and write the user's message.

    The message is the record's own `instruction`, or the task's, then the question and the choices, leaving out what
    the instruction says already.

    Args:
        record (`Mapping[str, Any]`):
            The record.
        task (`str`):
            Its task.
        instruction (`str`, *optional*):
            Takes the place of the task's instruction.

    Returns:
        `tuple[str, str]`: The bare question and the message.

    Raises:
        `RecordError`: If there is neither `question` nor `instruction`.
    """
    own = optional_text_field(record, "instruction")
    question = record.get("question")
    if isinstance(question, Mapping):
        question = text_field(question, "stem")
    elif own and question is None:
        question = own
    else:
        question = text_field(record, "question")
    question = question.strip()
    parts = [own or (INSTRUCTIONS.get(task, "") if instruction is None else instruction.strip())]
    parts += [] if question in own else [question]
    choices = read_choices(record)
    if not all(choice.text in own for choice in choices):
        parts += [f"{choice.label}: {choice.text}" for choice in choices]
    return question, "\n\n".join(part for part in (parts[0], "\n".join(parts[1:])) if part)


def _raw_choices(record: Mapping[str, Any]) -> Any:
    question = record.get("question")
    inner = question.get("choices") if isinstance(question, Mapping) else None
    return record.get("choices") if record.get("choices") is not None else inner


def _letter(label: str) -> str:
    label = label.strip()
    if label.isascii() and label.isdigit() and 1 <= int(label) <= len(_LETTERS):
        return _LETTERS[int(label) - 1]
    return label.upper() if len(label) == 1 else label


def _answer_texts(record: Mapping[str, Any]) -> list[str]:
    for field in ("answers", "answerKey", "possible_answers", "answer", "output"):
        value = record.get(field)
        if isinstance(value, str) and value.lstrip().startswith("[") and field == "possible_answers":
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                raise RecordError("malformed_field", f"`{field}` is no valid list ({error.msg}).") from error
        if isinstance(value, Mapping):  # TriviaQA's own layout
            value = [value.get("value"), *_as_list(value.get("aliases"))]
        texts = [item if isinstance(item, str) else str(item) for item in _as_list(value) if item is not None]
        texts = [text.strip() for text in texts if text.strip()]
        if texts:
            return texts
    return []


def _as_list(value: Any) -> Sequence[Any]:
    if value is None:
        return []
    return value if isinstance(value, (list, tuple)) else [value]
