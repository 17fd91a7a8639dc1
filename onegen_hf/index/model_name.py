"""What an index calls the model that made it."""

from __future__ import annotations

from typing import Any

from ..hub.names import public_name


def model_name(model: Any, model_id: str | None, revision: str | None) -> tuple[str | None, str | None]:
    """
    Name and revision to store with an index.

    Args:
        model (`OneGenForCausalLM`)
        model_id (`str`, *optional*): As the caller knows it. Only the last part of a directory is kept.
        revision (`str`, *optional*)

    Returns:
        `tuple[str | None, str | None]`: The given name and revision; by default the repository and commit that the
        model was loaded from.
    """
    origin, commit = (model.origin.repository, model.origin.commit) if model.origin else (None, None)
    if model_id is None and revision is None:
        return origin, commit
    return public_name(model_id), commit if revision is None and model_id == origin else revision
