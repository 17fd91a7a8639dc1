"""The templates of cards, which lie in the folder `model_cards`."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any, TypeVar

from huggingface_hub import CardData, RepoCard

Card = TypeVar("Card", bound=RepoCard)


def fill(card: type[Card], template: str, data: CardData, **values: Any) -> Card:
    """
    Make a card.

    Args:
        card (`type`): `ModelCard` or `DatasetCard`.
        template (`str`): File name, such as `"model.md"`.
        data (`CardData`): The front matter.
        values: What the template asks for.
    """
    with as_file(files("model_cards") / template) as path:
        return card.from_template(data, template_path=str(path), **values)
