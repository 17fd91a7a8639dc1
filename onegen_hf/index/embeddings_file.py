"""Embeddings computed elsewhere, in a file: read without running code, and refused where an index is wanted."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin")
"""Suffixes of such files. Their pickles run code when they are opened, except with `weights_only`."""

_RECIPE = (
    "Convert the file once in the environment of its authors, without access to anything of value:\n"
    "    import json, pickle\n"
    "    from safetensors.torch import save_file\n"
    '    embeddings, ids = pickle.load(open("embeddings.pkl", "rb"))\n'
    '    save_file({"embeddings": embeddings.cpu().contiguous()}, "embeddings.safetensors")\n'
    '    json.dump(ids, open("ids.json", "w"))\n'
    "and read the result with `read_embeddings`."
)


def refuse_embeddings_file(dir_or_repo: str | os.PathLike[str]) -> None:
    """
    Raises:
        `ValueError`: If the name is that of a file with embeddings, or of a directory that holds one and no index;
            says how to make an index of it.
    """
    path = Path(dir_or_repo)
    if path.suffix.lower() not in PICKLES:
        # `pytorch_model.bin` and the like lie in many directories beside an index.
        if not path.is_dir() or (path / "index.json").is_file():
            return
        pickles = sorted(file for file in path.iterdir() if file.suffix.lower() in PICKLES)
        if not pickles:
            return
        path = pickles[0]
    raise ValueError(
        f"{path} is no index: an index is a directory with index.json, index.faiss and passages.parquet. Embeddings "
        "that were computed elsewhere become one with `PassageIndex.from_embeddings(embeddings, passages, model, "
        "tokenizer, ids)`; read them with `onegen_hf.index.read_embeddings(path)`, which never runs the code that a "
        "pickle can hold. See docs/paper_checkpoints.md."
    )


def read_embeddings(path: str | os.PathLike[str]) -> tuple[Tensor, list[str] | None]:
    """
    Read embeddings from a file, without running code that it may hold.

    Args:
        path (`str` or path): A `.safetensors` file with one tensor, or one called `"embeddings"`; or what `torch.save`
            wrote: a tensor, a pair of a tensor and its ids, or a mapping with `"embeddings"` and perhaps `"ids"`.

    Returns:
        `tuple[Tensor, list[str] | None]`: The embeddings, of shape `(n_embeddings, hidden)` and in the dtype of the
        file, and the id of the passage of each, if the file holds ids.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If it can't be read without running code, as the paper's `...-Embedding.pkl`, which is a bare
            pickle; says how to convert it. Or if it holds something else than embeddings.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)
    if isinstance(content, Mapping):
        named = {"embeddings": next(iter(content.values()), None)} if len(content) == 1 else content
        content = (named.get("embeddings"), content.get("ids"))
    embeddings, ids = content if isinstance(content, Sequence) and len(content) == 2 else (content, None)
    if not isinstance(embeddings, Tensor) or embeddings.ndim != 2:
        shape = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise ValueError(
            f"{path} holds no embeddings of shape (n, hidden) but {shape}: give a file with a tensor, a pair "
            "(tensor, ids), or a mapping with 'embeddings' and 'ids'"
        )
    return embeddings, None if ids is None else [str(identifier) for identifier in ids]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}): convert or download it again") from error


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the version of a pickle that is refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file leads to any of them
        # Not `from error`: torch advises to run the code.
        raise ValueError(
            f"{path} can't be read without running code that it may hold ({type(error).__name__}), so it is refused. "
            f"{_RECIPE}"
        ) from None
