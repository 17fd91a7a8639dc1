"""The card of an index, from its index.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from data_builders.card import size_category

from ..hub.names import public_name
from .template import fill


def index_card(description: Mapping[str, Any], repo_id: str, lance: str | None = None) -> DatasetCard:
    """
    Make the card of an index.

    Args:
        description (`Mapping[str, Any]`): Content of its index.json.
        repo_id (`str`): Name of the repository.
        lance (`str`, *optional*): The Lance dataset that it consists of, such as `"films.lance"`.

    Returns:
        `huggingface_hub.DatasetCard`
    """
    data = DatasetCardData(
        task_categories=["text-retrieval"],
        size_categories=[size_category(description["passages"])],
        tags=["onegen", "lance" if lance else "faiss"],
        configs=None if lance else [{"config_name": "passages", "data_files": "passages.parquet", "default": True}],
    )
    return fill(
        DatasetCard,
        "index.md",
        data,
        name=repo_id.rpartition("/")[2],
        repo_id=repo_id,
        url=f"hf://datasets/{repo_id}/{lance}" if lance else None,
        index={"libraries": {}, **description, "model_id": public_name(description.get("model_id"))},
    )
