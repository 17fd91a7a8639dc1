"""A saved index, or a collection of a database that consists of files, for the Hub."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import DatasetCard

from ..cards import index_card
from ..checks import path
from ..hub.commit import Upload, check_repo_id
from ..hub.layout import CARD, DESCRIPTION_FILE, PASSAGES_FILE, current_version, require_file
from .description import backend_of, read_description, require_unedited
from .stores.collection import StoredCollection

_LANCE = ("_versions/*", "_transactions/*", "data/*", "_deletions/*", "_indices/*/*")
"""What a Lance dataset consists of."""


def index_upload(directory: str | os.PathLike[str], repo_id: str, keep_card: bool = False) -> Upload:
    """
    A saved [`PassageIndex`]; `PassageIndex.load(repo_id)` finds it.

    Args:
        directory (`str` or path)
        repo_id (`str`)
        keep_card (`bool`, *optional*, defaults to `False`): Push the README.md that is there.

    Raises:
        `FileNotFoundError` or `ValueError`: If there is no complete index.
    """
    check_repo_id(repo_id)
    root = current_version(Path(path()("directory", directory)))
    description = read_description(root)
    require_unedited(root, description)
    files = (backend_of(description, root).file_name, PASSAGES_FILE, DESCRIPTION_FILE)
    if keep_card:
        card = DatasetCard.load(require_file(root, CARD, "leave keep_card out") / CARD)
    else:
        card = index_card(description, repo_id)
    return Upload(repo_id, "dataset", root, files, card)


def collection_upload(collection: StoredCollection, repo_id: str) -> Upload:
    """
    A Lance dataset; `PassageIndex.load` searches it in the repository, without a download.

    Args:
        collection ([`~onegen_hf.index.stores.collection.StoredCollection`])
        repo_id (`str`)

    Raises:
        `ValueError`: If its store keeps no such files.
    """
    check_repo_id(repo_id)
    root, files = collection.store.files()
    name = files[0].partition("/")[0]
    properties = collection.properties
    description = {
        "backend": "lance",
        "metric": "inner_product",
        "passages": len(collection),
        "embeddings": collection.num_rows,
        "dimension": properties.dimension,
        "granularity": properties.granularity,
        "model_id": properties.model_id,
        "revision": properties.revision,
    }
    card = index_card(description, repo_id, lance=name)
    return Upload(repo_id, "dataset", root, tuple(files), card, replaces=tuple(f"{name}/{part}" for part in _LANCE))
