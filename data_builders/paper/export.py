"""The way back: a dataset repository as the paper's `db.jsonl` and `train.jsonl`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from data_builders.documents import Document, DocumentStore
from data_builders.paper.db_records import DOCUMENT_TOKENS, Layout, foreign_layout, read_document, write_document
from data_builders.paper.difference import difference
from data_builders.paper.references import known_from_paper
from data_builders.paper.train_records import read_example, write_example


def to_paper_files(
    repository: str | PathLike[str], out: str | PathLike[str], *, document_token: str = DOCUMENT_TOKENS[0]
) -> list[Path]:
    """
    Write a dataset repository as the paper's files.

    A repository that [`PaperConverter`] made gives the original records. One of another source gives records in the
    authors' layout; what that has no place for is in a field `onegen`, from which [`PaperConverter`] restores the
    repository.

    Args:
        repository (`str` or `PathLike`): A folder or a Hub id with the configs `documents` and `examples`.
        out (`str` or `PathLike`): The folder for `db.jsonl` and a file per split, such as `train.jsonl`.
        document_token (`str`, *optional*, defaults to `"[RD]"`): Stands after each sentence of documents that don't
            come from the paper.

    Returns:
        `list[Path]`: The files written.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    store = DocumentStore()
    for rows in _splits(repository, "documents").values():
        for row in rows:
            store.put(Document(row["id"], row["title"], tuple(row["sentences"])))
    examples = _splits(repository, "examples")
    common, odd = _document_layouts(row for rows in examples.values() for row in rows)
    written = [_write(folder / "db.jsonl", _db_records(store, common, odd, document_token))]
    for split, rows in examples.items():
        written.append(_write(folder / f"{split}.jsonl", (_train_record(row, store) for row in rows)))
    return written


def _splits(repository: str | PathLike[str], config: str) -> Mapping[str, Iterable[dict[str, Any]]]:
    from datasets import load_dataset

    return load_dataset(str(repository), config, streaming=True)


def _paper_layout(example: Mapping[str, Any]) -> Layout | None:
    meta = json.loads(example["meta"] or "{}")
    return meta.get("paper") if isinstance(meta, dict) else None


def _document_layouts(examples: Iterable[dict[str, Any]]) -> tuple[Layout | None, dict[str, Layout]]:
    common: Layout | None = None
    odd: dict[str, Layout] = {}
    for example in examples:
        layout = _paper_layout(example) or {}
        common = common or layout.get("documents") or None
        odd.update(layout.get("odd_documents", {}))
    return common, odd


def _db_records(
    store: DocumentStore, common: Layout | None, odd: Mapping[str, Layout], token: str
) -> Iterator[dict[str, Any]]:
    for document in store:
        layout = odd.get(document.id, common)
        if layout is not None:
            yield write_document(document, layout)
            continue
        record = write_document(document, foreign_layout(document, token))
        kept = difference(document.as_record(), read_document(record)[0].as_record())
        yield {**record, **({"onegen": kept} if kept else {})}


def _train_record(example: dict[str, Any], store: DocumentStore) -> dict[str, Any]:
    layout = _paper_layout(example)
    if layout is not None:
        return write_example(example, layout, store)
    record = write_example(example, {}, store)
    again, _ = read_example(record, store, convert=partial(known_from_paper, documents=store))
    return {**record, "onegen": difference(example, again)}


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write beside the place and rename, so that a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
