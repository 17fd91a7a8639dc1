"""`merge_shards`: the shards of an encoding as one index, written with the memory of one shard."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ...checks import checked, flag, integer, optional, path, text
from ...hub.layout import DESCRIPTION_FILE, PASSAGES_FILE, current_version
from ..backends import FaissBackend, PrefixBackend, TorchBackend, VectorBackend, backend_options, make_backend
from ..backends.faiss import GRAPH_CANDIDATES, empty_index, try_inverted_lists
from ..backends.faiss_installation import import_faiss
from ..description import model_description, vectors_description
from ..passage_index import PassageIndex
from ..passage_table import WRITE_ERRORS, concatenate_passages
from ..storage import write_directory
from ..versions import publish_version
from .faiss_file import write_faiss
from .generations import latest_generation
from .layout import ShardFolder, read_json
from .leases import Leases
from .manifest import Manifest
from .tensor_file import write_tensor

_LEAST_SAMPLE = 100_000
_SAMPLE_PER_CLUSTER = 64
_ROWS_PER_BLOCK = 8192
_LEASES, _PAUSE = ".merging", 0.5
Blocks = Callable[[], Iterator[np.ndarray]]


@checked(
    folder=path(),
    output_dir=path(),
    factory=text(),
    precision=text(),
    dimensions=optional(integer(least=1)),
    training_vectors=optional(integer(least=1)),
    show_progress=flag(),
)
def merge_shards(
    folder: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    factory: str = "Flat",
    backend: str | type[VectorBackend] | VectorBackend = "faiss",
    dimensions: int | None = None,
    precision: str = "float32",
    training_vectors: int | None = None,
    show_progress: bool = True,
) -> PassageIndex:
    """
    Make an index of an encoding. No model is needed.

    Nothing is held in memory but the block in hand and what is trained; a graph (`"HNSW32"`) and backends that have
    no file of their own hold all vectors. If `output_dir` holds an index already, the new one is put beside it and
    takes its place in one step: whoever loads meanwhile gets one of them, whole, and indexes that are loaded stay as
    they are. The one before is kept until the next time.

    Args:
        folder (`str` or path): That [`encode_shards`] has filled.
        output_dir (`str` or path): Directory of the index.
        factory (`str`, *optional*, defaults to `"Flat"`), backend (`str`, [`VectorBackend`] or subclass, *optional*,
            defaults to `"faiss"`), dimensions (`int`, *optional*), precision (`str`, *optional*, defaults to
            `"float32"`): As for [`PassageIndex.build`].
        training_vectors (`int`, *optional*): Clusters and codebooks are trained on so many vectors, evenly spread
            over the corpus; by default 64 per cluster, and at least 100,000.
        show_progress (`bool`, *optional*, defaults to `True`)

    Returns:
        [`PassageIndex`]: Loaded from `output_dir`.

    Raises:
        `FileNotFoundError`: If the encoding is not finished.
        `ValueError`: If a shard is damaged, or the backend or `factory` does not fit.
        `OSError`: If the directory cannot be written to, or another process is writing to it.
    """
    vectors = make_backend(backend, dimensions, **backend_options(factory, precision))
    manifest = _manifest_of(folder)
    vectors.check(manifest.dimension, manifest.num_vectors)
    for shard in tqdm(manifest.shards(), "Checking", len(manifest.summaries), disable=not show_progress):
        shard.check()

    def blocks() -> Iterator[np.ndarray]:
        for shard in tqdm(manifest.shards(), "Merging", len(manifest.summaries), disable=not show_progress):
            for start in range(0, len(shard.vectors), _ROWS_PER_BLOCK):
                block = np.asarray(shard.vectors[start : start + _ROWS_PER_BLOCK], np.float32)
                yield vectors.cut(block) if isinstance(vectors, PrefixBackend) else block

    storage, dimension = vectors, manifest.dimension
    if isinstance(vectors, PrefixBackend):
        storage, dimension = vectors.inner, vectors.dimensions
    shape = (manifest.num_vectors, dimension)
    tables = [manifest.folder.shard(number) / PASSAGES_FILE for number in range(len(manifest.summaries))]
    writers = {
        vectors.file_name: lambda file: _write_vectors(storage, blocks, shape, training_vectors, file),
        PASSAGES_FILE: lambda file: concatenate_passages(tables, manifest.num_passages, file),
    }
    description = {
        "encoding": encoding_digest(manifest, vectors, training_vectors),
        **model_description(manifest.fingerprint, manifest.dimension, manifest.model_id, manifest.revision),
        **vectors_description(vectors, manifest.num_passages, manifest.num_vectors),
    }
    with publish_version(output_dir) as root:
        write_directory(root, writers, description, (*vectors.write_errors, *WRITE_ERRORS))
    return PassageIndex.load(output_dir)


def check_storage(
    dimension: int, factory: str, backend: str, dimensions: int | None = None, precision: str = "float32"
) -> None:
    """
    Make sure that [`merge_shards`] knows the storage, before anything is encoded.

    Args:
        dimension (`int`): Of the embeddings.
        factory (`str`), backend (`str`), dimensions (`int`, *optional*), precision (`str`): As for [`merge_shards`].

    Raises:
        `ValueError`: If the backend or `factory` is unknown or does not fit. Whether there are vectors enough to train
            it is not known before.
    """
    vectors = make_backend(backend, dimensions, **backend_options(factory, precision))
    storage = vectors.inner if isinstance(vectors, PrefixBackend) else vectors
    if isinstance(storage, FaissBackend):
        empty_index(storage.factory, min(dimensions or dimension, dimension))


def encoding_digest(manifest: Manifest, backend: VectorBackend, training_vectors: int | None = None) -> str:
    """What index.json keeps of how a merged index came about: of the same shards, in the same way."""
    content = [manifest.content, backend.name, dict(backend.settings), training_vectors]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def merge_together(
    folder: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    factory: str = "Flat",
    backend: str | type[VectorBackend] | VectorBackend = "faiss",
    dimensions: int | None = None,
    precision: str = "float32",
    lease_seconds: float = 60.0,
    show_progress: bool = True,
) -> PassageIndex:
    """
    [`merge_shards`] for several processes that call it at once: one of them merges, the others wait for it, and take
    over if it dies. If the index is there already, nothing is done.

    Args:
        folder (`str` or path), output_dir (`str` or path), factory (`str`), backend (`str`), dimensions (`int`,
            *optional*), precision (`str`), show_progress (`bool`): As for [`merge_shards`].
        lease_seconds (`float`, *optional*, defaults to 60.0): As for [`encode_shards`].
    """
    vectors = make_backend(backend, dimensions, **backend_options(factory, precision))
    digest = encoding_digest(_manifest_of(folder), vectors)
    leases = Leases(Path(output_dir) / _LEASES, lease_seconds)
    while not _is_merged(Path(output_dir), digest):
        with leases.claim(digest[:16]) as lease:
            if lease is not None and not _is_merged(Path(output_dir), digest):
                merge_shards(folder, output_dir, factory, backend, dimensions, precision, show_progress=show_progress)
                break
        time.sleep(_PAUSE)
    shutil.rmtree(leases.folder, ignore_errors=True)
    return PassageIndex.load(output_dir)


def _manifest_of(folder: str | os.PathLike[str]) -> Manifest:
    return Manifest.read(latest_generation(Path(folder)) or ShardFolder(Path(folder)))


def _is_merged(output_dir: Path, digest: str) -> bool:
    description = read_json(current_version(output_dir) / DESCRIPTION_FILE)
    return description is not None and description.get("encoding") == digest


def _write_vectors(
    backend: VectorBackend, blocks: Blocks, shape: tuple[int, int], sample_size: int | None, path: Path
) -> None:
    count, dimension = shape
    if isinstance(backend, FaissBackend):
        index = empty_index(backend.factory, dimension)
        clusters = try_inverted_lists(index)
        if not index.is_trained:
            least = _LEAST_SAMPLE if clusters is None else max(_LEAST_SAMPLE, _SAMPLE_PER_CLUSTER * clusters.nlist)
            index.train(_sample(blocks, count, sample_size or least))
        if clusters is not None:
            clusters.nprobe = min(clusters.nlist, max(8, clusters.nlist // 16))
        else:
            with suppress(RuntimeError):  # of an index without a graph
                import_faiss().ParameterSpace().set_index_parameter(index, "efSearch", GRAPH_CANDIDATES)
        write_faiss(index, blocks, count, path)
    elif isinstance(backend, TorchBackend):
        write_tensor(path, "embeddings", blocks(), (count, dimension), "<f4")
    else:
        backend.build(np.concatenate(list(blocks())))
        backend.write(path)


def _sample(blocks: Blocks, count: int, size: int) -> np.ndarray:
    """`(min(count, size), dimension)`: vectors that stand at even distances."""
    rows = np.unique(np.linspace(0, count - 1, min(count, size)).astype(np.int64))
    parts, start = [], 0
    for block in blocks():
        first, end = np.searchsorted(rows, [start, start + len(block)])
        parts.append(block[rows[first:end] - start])
        start += len(block)
    return np.concatenate(parts)
