"""Mutations of saved indexes, sealed again so that every size and checksum agrees, and a process that survives them."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onegen_hf.hub.layout import DESCRIPTION_FILE
from onegen_hf.index import storage
from onegen_hf.index.checksum import sampled_sha256

# Loads, searches and reads the passages of each directory that is named on its input; answers with a line of JSON.
_WORKER = """
import json, resource, sys
import numpy as np
import torch
torch.set_num_threads(1)
from onegen_hf.index import PassageIndex
queries = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30, used + 3 * 2**30))
print("ready", flush=True)
for line in sys.stdin:
    try:
        index = PassageIndex.load(line.strip())
        scores, rows = index.search(queries, 5)
        passages = [list(map(str, (p.id, p.title, p.text, p.sentences))) for p in index]
        answer = {"scores": scores.tolist(), "rows": rows.tolist(), "passages": passages}
    except (ValueError, OSError) as error:
        answer = {"refused": str(error)}
    except BaseException as error:
        answer = {"raw": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
"""


def seal(directory: Path) -> None:
    """Make index.json agree with the files as they are, by its own checksum too."""
    path = directory / DESCRIPTION_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        for name in description["files"]:
            description["files"][name] = (directory / name).stat().st_size
            description["checksums"][name] = sampled_sha256(directory / name)
        description["checksums"][DESCRIPTION_FILE] = storage._checksum(description)
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
        self._process: subprocess.Popen[str] | None = None

    def open(self, directory: Path) -> dict[str, Any]:
        """What came of an index: `scores`, `rows` and `passages`; `refused`; `raw`; or the `signal` that ended it."""
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{directory}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process = None
            return {"signal": process.wait()}
        return json.loads(line)

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None and self._process.stdout.readline() == "ready\n"
        return self._process


def mutations(originals: Sequence[Path], number: int, folder: Path, seed: int = 0) -> Iterator[tuple[Path, str, Path]]:
    """
    Sealed mutations of saved indexes.

    Yields:
        `tuple[Path, str, Path]`: The original, the file that was changed, and the changed copy, which is gone afterwards.
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
