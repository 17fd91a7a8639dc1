"""`passages_of`: pasted text and uploaded files as passages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_builders.records import DATA_SUFFIXES, TEXT_SUFFIXES, data_suffix, read_records

from ..data.passages import Passage

MOST_CHARACTERS = 2_000_000
"""More are refused: they would take minutes on a CPU."""
SUFFIXES = (*TEXT_SUFFIXES, *DATA_SUFFIXES)


def passages_of(text: str, files: Sequence[Path]) -> list[Passage]:
    """
    Passages of pasted text and of files.

    Args:
        text (`str`): Paragraphs between empty lines; a line `# Title` titles the paragraphs below it.
        files (`Sequence[Path]`): As [`load_documents`] takes them.

    Returns:
        `list[Passage]`: With the ids `pasted-1`, ..., and `FILE/ID` of records with an id, else `FILE/NAME-1`, ...

    Raises:
        `ValueError`: If there is no text, too much, or a file can't be read.
    """
    passages = [*_pasted(text)]
    for file in files:
        if data_suffix(file) not in SUFFIXES:
            raise ValueError(f"{file.name}: give one of {', '.join(SUFFIXES)}")
        passages += _of_file(file)
    if not passages:
        raise ValueError("There is no text yet: paste some, or choose a file.")
    size = sum(len(passage.text) for passage in passages)
    if size > MOST_CHARACTERS:
        raise ValueError(
            f"The texts have {size:,} characters; up to {MOST_CHARACTERS:,} can be indexed here. Use `onegen-hf "
            "index` for more."
        )
    return passages


def _pasted(text: str) -> Iterator[Passage]:
    title, number = "", 0
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        first, _, rest = paragraph.strip().partition("\n")
        if first.startswith("#"):
            title, paragraph = first.lstrip("#").strip(), rest
        if paragraph.strip():
            number += 1
            yield Passage(f"pasted-{number}", title, paragraph.strip())


def _of_file(file: Path) -> Iterator[Passage]:
    seen: set[str] = set()
    for number, located in enumerate(read_records(file)):
        passage = Passage.from_record(located.record, number)
        identifier = (
            passage.id if passage.id != str(number) and passage.id not in seen else f"{file.stem}-{number + 1}"
        )
        seen.add(identifier)
        yield Passage(f"{file.name}/{identifier}", passage.title, passage.text, passage.sentences, passage.meta)
