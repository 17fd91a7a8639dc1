"""Staging: a stream of passages is read once and cut into shards on disk, which workers can encode in any order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ...checks import shown
from ...data.passages import Passage
from ...data.streaming import PassageStream
from ...files import atomic_file, write_text_atomically
from ..encode import check_texts
from ..passage_table import WRITE_ERRORS, read_passages, write_passages
from ..text_hash import as_halves, hash_id, hash_text
from .layout import ShardFolder, read_json
from .sorted_hashes import repeated, sort_hashes
from .tensor_file import mapped_tensors, write_tensor

FORMAT_VERSION = 1


@dataclass(frozen=True)
class CorpusSettings:
    """
    Which corpus is encoded, and how it is cut into shards.

    Args:
        identity (`str`, *optional*): Of the [`PassageStream`].
        shard_size (`int`): Passages per shard.
        deduplicate (`bool`): Leave out passages with the title and text of an earlier one.
    """

    identity: str | None
    shard_size: int
    deduplicate: bool

    def join(self, folder: ShardFolder) -> None:
        """
        Write the settings into a folder, or compare them with those that are there.

        Raises:
            `ValueError`: If another corpus is encoded there, or is cut in another way.
        """
        stored = read_json(folder.corpus_file)
        if stored is None:
            folder.root.mkdir(parents=True, exist_ok=True)
            content = json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, sort_keys=True) + "\n"
            write_text_atomically(folder.corpus_file, content)
            stored = read_json(folder.corpus_file) or {}
        changed = [name for name, value in asdict(self).items() if stored.get(name) != value]
        if "identity" in changed:
            raise another_corpus(folder)
        if changed:
            details = ", ".join(
                f"{name} was {stored.get(name)!r} and is now {getattr(self, name)!r}" for name in changed
            )
            raise ValueError(f"{folder.root} holds shards that were cut in another way: {details}. Give the same "
                             "settings to go on, or another folder")  # fmt: skip


def another_corpus(folder: ShardFolder) -> ValueError:
    """The error where a folder and a corpus do not go together."""
    return ValueError(
        f"{folder.root} holds the shards of another corpus, or the corpus has changed since. Give the same one to go "
        "on, update=True (--update) to bring a finished encoding up to date, or another folder"
    )


def require_same_beginning(folder: ShardFolder, stream: PassageStream, settings: CorpusSettings) -> None:
    """
    Compare a corpus with a staged one, as far as the first shard and the count tell; for streams without an identity.

    Raises:
        `ValueError`: If they differ.
    """
    known = folder.staging() or (read_json(folder.manifest_file) or {}).get("corpus")
    if stream.identity is not None or known is None:
        return
    beginning = _digest(*_hashes_of(list(islice(iter(stream), settings.shard_size))))
    if stream.count not in (None, known["passages"]) or beginning != known["beginning"]:
        raise another_corpus(folder)


def stage(
    folder: ShardFolder, stream: PassageStream, settings: CorpusSettings, advance: Callable[[int], None]
) -> None:
    """
    Cut a corpus into shards. Shards that a killed process has staged stay.

    Args:
        folder ([`ShardFolder`])
        stream ([`PassageStream`])
        settings ([`CorpusSettings`])
        advance (`Callable`): Called after every shard with its number of passages.

    Raises:
        `TypeError` or `ValueError`: If the corpus is empty, a passage has no text or one that can't be saved, two
            passages share an id, or an earlier part of it was staged from another corpus.
    """
    passages, total, shard, beginning = iter(stream), 0, 0, ""
    whole = hashlib.blake2b(digest_size=16)
    while group := list(islice(passages, settings.shard_size)):
        _check(group, total)
        ids, texts = _hashes_of(group)
        beginning = beginning or _digest(ids, texts)
        whole.update(ids.tobytes() + texts.tobytes() + json.dumps([p.meta for p in group]).encode())
        _stage_shard(folder, shard, group, ids, texts)
        total, shard = total + len(group), shard + 1
        advance(len(group))
    if total == 0:
        raise ValueError(f"{stream.name}: the corpus is empty (no passages). Give at least one.")
    _require_distinct_ids(folder, shard, total, settings.shard_size)
    if settings.deduplicate:
        _note_repeats(folder, shard, total)
    staging = {"passages": total, "shards": shard, "beginning": beginning, "digest": whole.hexdigest()}
    write_text_atomically(folder.staged_file, json.dumps(staging, sort_keys=True) + "\n")


def staged_passages(folder: ShardFolder, shard: int, settings: CorpusSettings) -> list[Passage]:
    """
    The passages of a staged shard that are to be encoded.

    Raises:
        `ValueError`: If the file is damaged.
    """
    passages = [passage for passage, _ in read_passages(folder.staged_passages(shard))]
    if not settings.deduplicate:
        return passages
    repeats = mapped_tensors(folder.repeats_file)["rows"]
    start = shard * settings.shard_size
    first, end = np.searchsorted(repeats, [start, start + len(passages)])
    left_out = set((repeats[first:end] - start).tolist())
    return [passage for number, passage in enumerate(passages) if number not in left_out]


def _check(group: list[Passage], start: int) -> None:
    check_texts(group, start)
    for number, passage in enumerate(group, start):
        if not (passage.text.strip() or passage.title.strip()):
            raise ValueError(
                f"passage {number} (id {shown(passage.id)}) has no text to embed: drop it, or give it a text"
            )


def _hashes_of(group: list[Passage]) -> tuple[np.ndarray, np.ndarray]:
    return as_halves([hash_id(p.id) for p in group]), as_halves([hash_text(p) for p in group])


def _digest(ids: np.ndarray, texts: np.ndarray) -> str:
    return hashlib.blake2b(ids.tobytes() + texts.tobytes(), digest_size=16).hexdigest()


def _stage_shard(folder: ShardFolder, shard: int, group: list[Passage], ids: np.ndarray, texts: np.ndarray) -> None:
    path, hashes = folder.staged_passages(shard), folder.staged_hashes(shard)
    if hashes.is_file():
        before = load_file(hashes)
        if not (np.array_equal(before["ids"], ids) and np.array_equal(before["texts"], texts)):
            raise another_corpus(folder)
        return
    path.parent.mkdir(exist_ok=True)
    with atomic_file(path, *WRITE_ERRORS) as temporary:
        write_passages(group, [0] * len(group), temporary)
    with atomic_file(hashes, SafetensorError) as temporary:
        save_file({"ids": ids, "texts": texts}, temporary)


def _require_distinct_ids(folder: ShardFolder, shards: int, count: int, shard_size: int) -> None:
    path = folder.root / "staged" / "ids.sorted"
    sort_hashes(_hashes(folder, shards, "ids"), count, path)
    try:
        for later, earlier in repeated(path):
            row, first = int(later[0]), int(earlier[0])
            group = list(read_passages(folder.staged_passages(row // shard_size)))
            raise ValueError(
                f"the id {shown(group[row % shard_size][0].id)} stands for passage {first} and for passage {row} of "
                "the corpus. Make ids unique."
            )
    finally:
        path.unlink()


def _note_repeats(folder: ShardFolder, shards: int, count: int) -> None:
    path = folder.root / "staged" / "texts.sorted"
    sort_hashes(_hashes(folder, shards, "texts"), count, path)
    rows = np.sort(np.concatenate([np.empty(0, np.int64), *(later for later, _ in repeated(path))]))
    path.unlink()
    with atomic_file(folder.repeats_file) as temporary:
        write_tensor(temporary, "rows", [rows], rows.shape, "<i8")


def _hashes(folder: ShardFolder, shards: int, name: str) -> Iterator[np.ndarray]:
    for shard in range(shards):
        yield load_file(folder.staged_hashes(shard))[name]
