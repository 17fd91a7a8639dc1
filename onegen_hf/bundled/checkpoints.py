"""The bundled checkpoints and the names that stand for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

DEFAULT_CHECKPOINT = Path(__file__).resolve().parents[1] / "default_checkpoint"
"""What `pipeline("onegen-rag")` loads by default: a LoRA adapter and its index, both part of the package."""
DEFAULT_LINKER = DEFAULT_CHECKPOINT.with_name("default_linker")
"""The same for `pipeline("onegen-entity-linking")`."""

BUILTIN = {"builtin": DEFAULT_CHECKPOINT, "builtin-linker": DEFAULT_LINKER}
"""Name → checkpoint. No repository on the Hub can have these names, which lack an organization."""


def builtin_path(name: Any) -> Any:
    """
    The folder of a bundled checkpoint, for its name.

    Args:
        name (`str`, path or any): Where a model is asked for. A folder of the same name is `./builtin`.

    Returns:
        `str` or as given: The folder for one of the names in [`BUILTIN`], else `name` itself.
    """
    return str(BUILTIN[name]) if isinstance(name, str) and name in BUILTIN else name


def is_builtin(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the folder of a bundled checkpoint."""
    return Path(path).resolve() in BUILTIN.values()
