"""`Origin`: which repository of the Hub a model was loaded from, and how its other files are reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ACCESS = ("cache_dir", "token", "local_files_only")
"""Options of `from_pretrained` that other downloads of the same user need too."""


@dataclass(frozen=True)
class Origin:
    """
    Args:
        repository (`str`): Its id on the Hub.
        commit (`str`, *optional*): What was loaded, where it is known.
        access (`Mapping[str, Any]`, *optional*): The options named in [`ACCESS`] that it was loaded with. A token is
            left out of what is printed or pickled.
    """

    repository: str
    commit: str | None = None
    access: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, repository: str, commit: str | None, options: Mapping[str, Any]) -> Origin:
        """With the access that `options`, those of `from_pretrained`, tell of."""
        known = {name: options[name] for name in ACCESS if options.get(name) is not None}
        return cls(repository, commit, known)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "access": {name: own for name, own in self.access.items() if name != "token"}}

    def __deepcopy__(self, memo: Any) -> Origin:
        return self


def access_of(model: Any) -> dict[str, Any]:
    """How the repository of a model was reached; nothing for a model of this machine."""
    return dict(model.origin.access) if model.origin else {}
