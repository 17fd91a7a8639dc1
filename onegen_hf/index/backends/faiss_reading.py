"""Reading a FAISS file that may come from a stranger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from .faiss_installation import faiss_message, import_faiss
from .faiss_structure import DamagedError, UnknownKindError, check_structure

_SECONDS = 600
_GIGABYTES = 8
# Ends with 0 if FAISS can read and search the file within the given memory; prints FAISS's error otherwise.
_TRIAL = """
import sys
import numpy as np
path, mmap, limit, seconds = sys.argv[1], sys.argv[2] == "True", int(sys.argv[3]), int(sys.argv[4])
import faiss
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
except (ImportError, OSError):
    pass
here = faiss.IO_FLAG_ONDISK_SAME_DIR
try:
    if mmap:
        index = faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC | here)
    else:
        index = faiss.read_index(faiss.BufferedIOReader(faiss.FileIOReader(path)), here)
    if index.metric_type == faiss.METRIC_INNER_PRODUCT and index.ntotal:
        queries = np.random.default_rng(0).normal(size=(8, index.d)).astype(np.float32)
        index.search(queries, min(10, index.ntotal))
except (RuntimeError, MemoryError) as error:
    print(str(error) or "out of memory")
    sys.exit(1)
"""


def read_faiss(path: Path, mmap: bool) -> Any:
    """
    Read an index file.

    The structure of the file is checked first. FAISS reads kinds of index whose structure is not known here in another
    process, with limits, before it may read them in this one.

    Args:
        path (`Path`)
        mmap (`bool`): Map the file instead of reading it: loading takes no time, and processes share the memory.

    Returns:
        `faiss.Index`

    Raises:
        `ValueError`: If it is no FAISS index, is damaged, keeps its lists in another file, or does not compare by
            inner product.
    """
    try:
        check_structure(path)
    except DamagedError as error:
        raise _unreadable(path, str(error)) from error
    except UnknownKindError:
        _read_elsewhere(path, mmap)
    try:
        index = _read(path, mmap)
    except RuntimeError as error:
        raise _unreadable(path, str(error)) from error
    if index.metric_type != import_faiss().METRIC_INNER_PRODUCT:
        raise _unreadable(path, f"it does not compare by inner product (FAISS metric type {index.metric_type})")
    return index


def _read(path: Path, mmap: bool) -> Any:
    faiss = import_faiss()
    # Lists on disk are a path within the file, anywhere on this machine, that FAISS would open to read and to write.
    # With this flag it refuses them before that, unless its reader is the plain one of files.
    here = faiss.IO_FLAG_ONDISK_SAME_DIR
    if mmap:
        # IO_FLAG_MMAP maps only some kinds of index; this one maps them all.
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | here)
    return faiss.read_index(faiss.BufferedIOReader(faiss.FileIOReader(str(path))), here)


def _read_elsewhere(path: Path, mmap: bool) -> None:
    import_faiss()  # a missing or broken installation is told by its own error
    limit = path.stat().st_size + _GIGABYTES * 2**30
    # -P: a file `faiss.py` in the working directory is not what is meant.
    command = [sys.executable, "-P", "-c", _TRIAL, str(path), str(mmap), str(limit), str(_SECONDS)]
    try:
        trial = subprocess.run(command, capture_output=True, text=True, timeout=2 * _SECONDS)
    except subprocess.TimeoutExpired as error:
        raise _unreadable(path, f"FAISS did not finish reading it within {2 * _SECONDS} s") from error
    if trial.returncode == 1 and trial.stdout.strip():
        raise _unreadable(path, trial.stdout)
    if trial.returncode:
        raise _unreadable(path, f"FAISS ended with status {trial.returncode} when it read or searched it")


def _unreadable(path: Path, what: str) -> ValueError:
    if "ONDISK_SAME_DIR" in what:
        return ValueError(
            f"{path} keeps its lists in another file, which can be any file of this machine: don't use this index"
        )
    if "inner product" in what:
        return ValueError(
            f"{path} {what.removeprefix('it ')}, so its scores are no cosines: build it again with another factory "
            "than an HNSW over PQ"
        )
    return ValueError(
        f"{path} is no readable FAISS index ({faiss_message(Exception(what))}): build or download it again"
    )
