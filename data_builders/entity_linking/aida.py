"""AIDA-CoNLL's table (Hoffart et al., 2011): one token a line, read as articles with labels."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast
from urllib.parse import unquote

from data_builders.entity_linking.detokenization import detokenize
from data_builders.errors import ErrorPolicy, RecordError
from data_builders.records import Located

DOCUMENT_START = "-DOCSTART-"
_HEADING = re.compile(r"\((.*)\)\s*$")
_SPLIT = re.compile(r"^(\d+)(testa|testb)?(?:\s+(.*))?$", re.IGNORECASE)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_NO_ENTITY = "--NME--"
_TAGS = ("", "O", "B", "I")


class _Token(NamedTuple):
    text: str
    columns: tuple[str, ...]  # what follows the token: none outside of mentions


def is_aida(path: str | PathLike[str]) -> bool:
    """Whether the first line that is not blank begins an AIDA-CoNLL document."""
    with _open(Path(path), errors="replace") as stream:
        return next((line for line in stream if line.strip()), "").startswith(DOCUMENT_START)


def _open(path: Path, errors: str = "strict") -> TextIO:
    with path.open("rb") as stream:
        is_compressed = stream.read(2) == b"\x1f\x8b"
    opener: Any = gzip.open if is_compressed else open
    return cast(TextIO, opener(path, "rt", encoding="utf-8-sig", errors=errors, newline="\n"))


def read_aida(path: str | PathLike[str], policy: ErrorPolicy) -> Iterator[Located]:
    """
    Stream the articles of an AIDA-CoNLL table in ELEVANT's layout.

    A document begins at its `-DOCSTART- (947testa CRICKET)` line, sentences end at blank lines. A token inside a
    mention has the columns B or I, mention, YAGO2 entity or `--NME--`, Wikipedia URL, Wikipedia id, Freebase mid. A
    mention begins at every B and at an I that continues none. As ELEVANT reads the file, a B whose entity is `null`
    continues the mention before it.

    A label's `entity_id` is the title in its Wikipedia URL (else the YAGO2 name), `other_ids` are the Wikipedia id
    and the Freebase mid. `split` is `train`, `testa` or `testb`, by the mark of the document.

    Args:
        path (`str` or `PathLike`): The table.
        policy (`ErrorPolicy`): What to do with a malformed document.

    Returns:
        `Iterator[Located]`: The articles in file order.

    Raises:
        `RecordError`: For the annotations without tokens that the corpus is distributed as.
    """
    path = Path(path)
    heading, first, sentences = "", 0, [[]]  # type: tuple[str, int, list[list[_Token]]]
    with _open(path) as stream:
        for line, text in enumerate(stream, start=1):
            text = text.rstrip("\r\n")
            if text.startswith(DOCUMENT_START):
                if first:
                    yield from _located(heading, sentences, path.name, first, policy)
                heading, first, sentences = text, line, [[]]
            elif not text.strip():
                sentences.append([])
            else:
                token, *columns = (column.strip() for column in text.split("\t"))
                sentences[-1].append(_Token(token, tuple(columns)))
    if first:
        yield from _located(heading, sentences, path.name, first, policy)


def _located(
    heading: str, sentences: list[list[_Token]], name: str, line: int, policy: ErrorPolicy
) -> Iterator[Located]:
    where = f"{name}, line {line}"
    try:
        article = _article(heading, [sentence for sentence in sentences if sentence])
    except RecordError as error:
        policy.handle(error.at(where))
    else:
        yield Located(article, where, line)


def _article(heading: str, sentences: Sequence[Sequence[_Token]]) -> dict[str, Any]:
    tokens = [token for sentence in sentences for token in sentence]
    if any(token.text.isdigit() and token.columns and token.columns[0] not in _TAGS for token in tokens):
        raise RecordError(
            "annotations_only",
            "this file holds annotations without tokens; join it with CoNLL-2003 by the tool that the corpus comes "
            "with (it writes AIDA-YAGO2-dataset.tsv).",
        )
    bracketed = _HEADING.search(heading)
    document_id = bracketed[1].strip() if bracketed else heading.removeprefix(DOCUMENT_START).strip()
    marked = _SPLIT.match(document_id)
    text, spans = detokenize([[token.text for token in sentence] for sentence in sentences])
    labels: list[dict[str, Any]] = []
    for sentence, places in zip(sentences, spans, strict=True):
        labels += _labels(sentence, places)
    return {
        "id": document_id or None,
        "title": (marked[3] or "" if marked else document_id).strip(),
        "text": text,
        "labels": labels,
        "split": (marked[2] or "train").lower() if marked else "train",
    }


def _labels(sentence: Sequence[_Token], places: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    label: dict[str, Any] | None = None
    for token, (start, end) in zip(sentence, places, strict=True):
        tag = (token.columns[0] if token.columns else "") or "O"
        if tag not in _TAGS:
            raise RecordError("malformed_field", f"column 2 of {token.text!r} must be B, I or O, got {tag!r}.")
        begins = tag == "B" and not (label and token.columns[2:3] == ("null",))
        if label and (begins or tag == "O"):
            yield label
            label = None
        if tag == "O":
            continue
        if label is None:
            label = {"span": [start, end], **_entity(token)}
        label["span"][1] = end
    if label:
        yield label


def _entity(token: _Token) -> dict[str, Any]:
    _, _, yago, url, wikipedia_id, freebase = (*token.columns, *[""] * 6)[:6]
    if yago in ("", "null", _NO_ENTITY):
        return {"entity_id": _NO_ENTITY, "name": ""}
    yago = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), yago)
    title = unquote(url.partition("/wiki/")[2]) or yago
    return {
        "entity_id": title.replace(" ", "_"),
        "name": title.replace("_", " "),
        "other_ids": [other for other in dict.fromkeys((wikipedia_id, freebase, yago)) if other],
    }
