"""`public_name`: names of models and data without their paths on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload


@overload
def public_name(name: None) -> None: ...
@overload
def public_name(name: str) -> str: ...
def public_name(name: str | None) -> str | None:
    """A name as others know it: of a file or directory of this machine only the last part."""
    return Path(name).name if name and is_local(name) else name


def is_local(name: str) -> bool:
    """Whether a name of a model or a dataset is a path of this machine, and none of the Hub."""
    return os.path.isabs(name) or os.path.exists(name)


def hub_id(name: str | None) -> str | None:
    """The name if it can be that of a repository of the Hub (`organisation/name`), else `None`."""
    return name if name and name.count("/") == 1 and not is_local(name) and not name.startswith((".", "~")) else None


def public_values(value: Any) -> Any:
    """Settings, nested or not, with [`public_name`] in place of every path of this machine."""
    if isinstance(value, Mapping):
        return {key: public_values(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [public_values(part) for part in value]
    return public_name(value) if isinstance(value, str) and os.sep in value else value
