"""Files of passages or examples as datasets, read as `onegen-hf build` reads them: every cell as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Json, Value
from datasets.exceptions import DatasetGenerationError

from data_builders.columns import as_text, find_value, list_of_texts
from data_builders.errors import RecordError
from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.records import Located, read_records

from .passages import Passage
from .plain_files import id_in

_TEXT_FEATURES = Features({"id": Value("string"), "title": Value("string"), "text": Value("string")})
_READER_VERSION = 3
"""Part of what identifies a file in the cache of `datasets`: to be raised when files are read in another way."""


def passages_of_files(files: Sequence[Path], folder: Path | None = None) -> Dataset:
    """
    Read passages from files.

    Args:
        files (`Sequence[Path]`): JSON, JSON lines, CSV, TSV, Parquet or text, also compressed.
        folder (`Path`, *optional*): In which the files lie; the ids of texts are their paths there.

    Returns:
        `datasets.Dataset`: With `id`, `title`, `sentences` if the first record has them, else `text`; and `meta`.

    Raises:
        `ValueError`: If a file is empty or malformed, or a record is no passage; the message names file and line.
    """
    first = next(read_records(files[0]), None)
    by_sentence = first is not None and first.record.get("sentences") is not None
    features = Features({**(DOCUMENTS_FEATURES if by_sentence else _TEXT_FEATURES), "meta": Json()})
    return _dataset(
        files, _passages, features, by_sentence=by_sentence, folder=None if folder is None else str(folder)
    )


def examples_of_files(files: Sequence[Path], folder: Path | None = None) -> Dataset:
    """
    Read examples from files: rows of the `examples` config, or questions with answers (`golden_answers`, ...) and
    perhaps the ids of passages that answer them.

    Args:
        files (`Sequence[Path]`)
        folder (`Path`, *optional*): As for [`passages_of_files`]. Examples do not depend on it.

    Raises:
        `ValueError`: If a file is empty or malformed, or a record has no question.
    """
    return _dataset(files, _examples, EXAMPLES_FEATURES)


def _dataset(files: Sequence[Path], generator: Any, features: Features, **options: Any) -> Dataset:
    stamps = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns, _READER_VERSION) for file in files]
    try:
        return Dataset.from_generator(
            generator,
            features=features,
            gen_kwargs={"files": tuple(map(str, files)), "stamps": tuple(stamps), **options},
        )
    except DatasetGenerationError as error:
        cause = error.__cause__ or error
        if isinstance(cause, (ValueError, TypeError, OSError)):
            raise cause from None
        raise ValueError(f"{', '.join(map(str, files))}: {cause}") from error


def _records(files: Sequence[str]) -> Iterator[tuple[int, str, Located]]:
    number = 0
    for file in files:
        for located in read_records(file):
            yield number, file, located
            number += 1
    if number == 0:
        raise ValueError(f"{', '.join(files)}: no record in this file; give one with records.")


def _passages(files: Sequence[str], stamps: Any, by_sentence: bool, folder: str | None) -> Iterator[dict[str, Any]]:
    for number, file, (record, where, _) in _records(files):
        if folder is not None and (identifier := id_in(Path(folder), Path(file))) is not None:
            record["id"] = identifier
        try:
            passage = Passage.from_record(record, number)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from error
        row: dict[str, Any] = {"id": passage.id, "title": passage.title, "meta": passage.meta}
        if by_sentence:
            yield row | {"sentences": list(passage.sentences) or [passage.text]}
        else:
            yield row | {"text": passage.text}


def _examples(files: Sequence[str], stamps: Any) -> Iterator[dict[str, Any]]:
    for number, _, (record, where, _) in _records(files):
        try:
            yield _example(record, number)
        except RecordError as error:
            raise error.at(where) from None


def _example(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    identifier, question = find_value(record, "id", None), find_value(record, "question", None)
    messages = _list(record, "messages")
    if question is None and not messages:
        raise RecordError("missing_field", f"no column 'question' or 'messages' among {sorted(record)}; add one.")
    text = "" if question is None else as_text(question, "question")
    positives = _references(find_value(record, "passages", None))
    negatives = _references(record.get("negatives"))
    meta = record.get("meta")
    return {
        "id": str(number) if identifier is None else as_text(identifier, "id"),
        "messages": [_message(message) for message in messages or [{"role": "user", "content": text}]],
        "positives": positives,
        "negatives": negatives or [[] for _ in positives],
        "question": text,
        "answers": list_of_texts(find_value(record, "answer", None), "answers"),
        "meta": meta if isinstance(meta, str) else json.dumps(meta, ensure_ascii=False, default=str),
    }


def _list(record: Mapping[str, Any], column: str) -> list[Any]:
    value = record.get(column)
    if isinstance(value, str):  # a cell of a CSV file
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise RecordError("malformed_field", f"`{column}` is no JSON list ({error}); mend it.") from error
    if value is not None and not isinstance(value, list):
        raise RecordError("malformed_field", f"`{column}` must be a list, got {value!r:.60}.")
    return value or []


def _message(message: Any) -> dict[str, str]:
    if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
        raise RecordError("malformed_field", f"every message needs `role` and `content`, got {message!r:.60}.")
    return {key: as_text(message[key], f"message's {key}") for key in ("role", "content")}


def _references(value: Any) -> list[list[str]]:
    """Ids of passages: a list for each query token, or a single text or list for the only one."""
    if isinstance(value, list) and value and all(isinstance(hop, list) for hop in value):
        return [list_of_texts(hop, "ids of the passages") for hop in value]
    ids = list_of_texts(value, "ids of the passages")
    return [ids] if ids else []
