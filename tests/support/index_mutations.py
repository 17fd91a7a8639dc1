"""Mutations of saved indexes, sealed again so that every size and checksum agrees, and a process to open them."""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import shutil
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onegen_hf.hub.layout import DESCRIPTION_FILE
from onegen_hf.index import PassageIndex
from onegen_hf.index.checksum import sampled_sha256
from onegen_hf.index.description import description_checksum
from support.two_processes import IMPORTED


def _open_all(connection: Connection) -> None:
    """Load and search each directory that is received, read its passages, and send what came of it."""
    torch.set_num_threads(1)
    queries = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30, used + 3 * 2**30))
    while (directory := connection.recv()) is not None:
        answer: dict[str, Any]
        try:
            index = PassageIndex.load(directory)
            scores, rows = index.search(queries, 5)
            passages = [list(map(str, (p.id, p.title, p.text, p.sentences))) for p in index]
            answer = {"scores": scores.tolist(), "rows": rows.tolist(), "passages": passages}
        except (ValueError, OSError) as error:
            answer = {"refused": str(error)}
        except BaseException as error:
            answer = {"raw": f"{type(error).__name__}: {error}"}
        connection.send(answer)


def seal(directory: Path) -> None:
    """Make index.json agree with the files as they are, by its own checksum too."""
    path = directory / DESCRIPTION_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        for name in description["files"]:
            description["files"][name] = (directory / name).stat().st_size
            description["checksums"][name] = sampled_sha256(directory / name)
        description["checksums"][DESCRIPTION_FILE] = description_checksum(description)
    except (ValueError, LookupError, TypeError, AttributeError, OSError):
        return  # nothing that a seal could be put on
    path.write_text(json.dumps(description, sort_keys=True) + "\n", encoding="utf-8")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, a number replaced by an extreme one, a piece cut out, doubled, or the end cut off."""
    data = bytearray(content)
    kind = rng.choice(["bits", "bytes", "number", "number", "cut", "delete", "insert"])
    # Headers are short, and most of what can go wrong is in them.
    place = rng.randrange(min(len(data), rng.choice([64, 512, len(data)])))
    if rng.random() < 0.3:
        place = len(data) - 1 - place  # footers, likewise
    if kind == "bits":
        for _ in range(rng.randint(1, 4)):
            data[(place + rng.randrange(16)) % len(data)] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        data[place : place + 4] = rng.randbytes(4)
    elif kind == "number":
        value = rng.choice([0, 1, -1, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**62), rng.randrange(2**16)])
        width = rng.choice([4, 8])
        data[place : place + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    elif kind == "cut":
        del data[place:]
    elif kind == "delete":
        del data[place : place + rng.randint(1, 16)]
    else:
        data[place:place] = data[place : place + rng.randint(1, 64)]
    return bytes(data)


class Survivor:
    """A process that opens mutated indexes, started again when it has died."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Any = None

    def open(self, directory: Path) -> dict[str, Any]:
        """What came of an index: `scores`, `rows` and `passages`; `refused`; `raw`; or the `signal` that ended it."""
        if self._process is None:
            self._start()
        try:
            self._connection.send(str(directory))
            answer: dict[str, Any] = self._connection.recv()
            return answer
        except (EOFError, ConnectionError):
            self._process.join()
            code, self._process = self._process.exitcode, None
            return {"signal": code}

    def close(self) -> None:
        if self._process is not None:
            self._connection.send(None)
            self._process.join()

    def _start(self) -> None:
        multiprocessing.set_forkserver_preload(IMPORTED)
        context = multiprocessing.get_context("forkserver")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_open_all, args=(theirs,))
        self._process.start()
        theirs.close()


def mutations(originals: Sequence[Path], number: int, folder: Path, seed: int = 0) -> Iterator[tuple[Path, str, Path]]:
    """
    Sealed mutations of saved indexes.

    Yields:
        `tuple[Path, str, Path]`: The original, the file that was changed, and the changed copy, deleted afterwards.
    """
    rng = random.Random(seed)
    for _ in range(number):
        original = rng.choice(list(originals))
        copy = Path(shutil.copytree(original, folder / "copy"))
        file = rng.choice(sorted(copy.iterdir()))
        file.write_bytes(mutated(file.read_bytes(), rng))
        seal(copy)
        yield original, file.name, copy
        shutil.rmtree(copy)
