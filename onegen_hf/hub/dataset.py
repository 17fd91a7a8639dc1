"""`dataset_upload`: a dataset that `onegen-hf build` wrote, for the Hub."""

from __future__ import annotations

import os

from huggingface_hub import (
    DatasetCard,
)

from data_builders.card import named

from .commit import Upload
from .layout import (
    CARD,
    DATASET_FILES,
    DATASET_ROWS,
    matching_files,
    require_file,
)


def dataset_upload(directory: str | os.PathLike[str], repo_id: str, keep_card: bool = False) -> Upload:
    """
    A dataset that `onegen-hf build` wrote, with its README, whose `configs:` are what `load_dataset` reads.

    Args:
        directory (`str` or path)
        repo_id (`str`)
        keep_card (`bool`, *optional*, defaults to `False`): Push README.md unchanged; otherwise its code loads
            the dataset from `repo_id`.

    Raises:
        `FileNotFoundError`: If the README or the files of a config are missing.
        `ValueError`: If the README does not name the configs `documents` and `examples`.
    """
    root = require_file(directory, CARD, "make it with `onegen-hf build`, which writes the README last")
    card = DatasetCard.load(root / CARD)
    configs = {config["config_name"]: config["data_files"] for config in card.data.to_dict().get("configs", [])}
    if not {"documents", "examples"} <= configs.keys():
        raise ValueError(f"{root / CARD} names the configs {sorted(configs)}, expected 'documents' and 'examples'")
    for part in (part for parts in configs.values() for part in parts):
        if not any(root.glob(part["path"])):
            raise FileNotFoundError(f"{root / part['path']} is missing, and the README names it: build it again")
    if not keep_card:
        card = DatasetCard(named(str(card), repo_id))
    return Upload(repo_id, "dataset", root, matching_files(root, DATASET_FILES), card, DATASET_ROWS)
