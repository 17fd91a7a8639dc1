"""Reading the passages of a corpus one at a time, from wherever they lie, with the memory of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datasets import load_dataset
from datasets.exceptions import DatasetNotFoundError

from data_builders.folders import check_folder, is_saved_dataset, load_saved
from data_builders.records import data_suffix, read_records

from ..checks import checked, path, text
from .documents import check_container
from .passages import Passage
from .plain_files import SUFFIXES, check_file, check_files_in, files_in, id_in, is_plain


class PassageStream:
    """
    Passages that are read when they are iterated over, from the start each time.

    Args:
        name (`str`): What errors call the corpus.
        read (`Callable`): Begins to read.
        identity (`str`, *optional*): Changes when the corpus does, as far as that can be told without reading it.
        count (`int`, *optional*): Number of passages, if it is known.
    """

    def __init__(
        self, name: str, read: Callable[[], Iterator[Passage]], identity: str | None = None, count: int | None = None
    ) -> None:
        self.name, self.identity, self.count = name, identity, count
        self._read = read

    def __iter__(self) -> Iterator[Passage]:
        return self._read()

    @classmethod
    def of(cls, passages: Any) -> PassageStream:
        """A stream of what holds passages already; a stream stays itself."""
        if isinstance(passages, cls):
            return passages

        def read() -> Iterator[Passage]:
            for number, record in enumerate(passages):
                yield Passage.from_record(record, number)

        check_container(passages)
        return cls("passages", read, count=len(passages) if hasattr(passages, "__len__") else None)


@checked(source=path(), split=text())
def stream_documents(source: str | os.PathLike[str], split: str = "train") -> PassageStream:
    """
    Open the passages of a corpus without reading it.

    The sources and columns are those of [`load_documents`], and memory does not grow with the corpus: files are read
    record by record, a dataset repository is streamed. The passages of a folder of texts have the path of their file
    within the folder as id, so that they keep it when files come and go.

    Args:
        source (`str` or path): As for [`load_documents`].
        split (`str`, *optional*, defaults to `"train"`): Of a dataset repository, or of what `save_to_disk` wrote.

    Returns:
        [`PassageStream`]

    Raises:
        `FileNotFoundError`: If there is no such file, folder or repository.
        `ValueError`: If a file is of an unknown kind, a folder has no file of passages or leads out of itself, or the
            repository has no such config or split. Iteration raises it where a file is malformed.
    """
    location = Path(source)
    if location.is_file():
        check_file(location)
        return _of_files(location, lambda: iter([location]))
    if location.is_dir():
        check_folder(location)
        if is_saved_dataset(location):
            saved = load_saved(location, split)
            return PassageStream(str(location), PassageStream.of(saved)._read, saved._fingerprint, len(saved))
        if is_plain(location):
            check_files_in(location)
            return _of_files(location, lambda: files_in(location))
    elif data_suffix(location) in SUFFIXES:
        raise FileNotFoundError(f"{location}: no such file")
    return _of_repository(str(source), split)


def _of_files(source: Path, files: Callable[[], Iterator[Path]]) -> PassageStream:
    def read() -> Iterator[Passage]:
        number = 0
        for file in files():
            for record, where, _ in read_records(file):
                if file != source and (identifier := id_in(source, file)) is not None:
                    record["id"] = identifier
                try:
                    yield Passage.from_record(record, number)
                except (TypeError, ValueError) as error:
                    raise ValueError(f"{where}: {error}") from error
                number += 1

    digest = hashlib.blake2b(digest_size=16)
    for file in files():
        status = file.stat()
        name = file.name if file == source else file.relative_to(source).as_posix()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return PassageStream(str(source), read, digest.hexdigest())


def _of_repository(source: str, split: str) -> PassageStream:
    def rows() -> Any:
        try:
            return load_dataset(source, "documents", split=split, streaming=True)
        except (FileNotFoundError, DatasetNotFoundError) as error:
            raise FileNotFoundError(
                f"{source}: no such dataset repository, folder or file. Build one with `onegen-hf build`"
            ) from error
        except ConnectionError as error:
            raise FileNotFoundError(
                f"{source}: no such folder or file here, and the Hub can't be asked: {error}"
            ) from error
        except ValueError as error:
            raise ValueError(f"{source}: cannot load the config 'documents', split {split!r}: {error}") from error

    rows()  # a wrong name is an error now, not once the model is loaded
    return PassageStream(source, lambda: iter(PassageStream.of(rows())), f"{source}@{split}")
