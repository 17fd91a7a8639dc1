"""`StoreLocation`: the URL of a collection of passages in a database."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_LOCAL = ("", ".", "..", "~")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_REMOTE_ONLY = frozenset({"postgresql", "hf"})
_LANCE = frozenset({"lance", "hf"})
_SCHEME = re.compile(r"[a-z][a-z0-9+]*://")


def is_store_url(place: Any) -> bool:
    """Whether a name of an index is the URL of a store, and no directory or repository."""
    return isinstance(place, str) and _SCHEME.match(place) is not None


@dataclass(frozen=True)
class StoreLocation:
    """
    Where a collection is.

    | URL | means |
    |---|---|
    | `qdrant://./folder/films` | the collection `films` in a local folder (or `qdrant:///absolute/folder/films`) |
    | `qdrant://host:6333/films` | the same on a server |
    | `milvus://./file.db/films`, `milvus://user:password@host:19530/films` | in a file, on a server |
    | `lance://./folder/films` | in a local folder |
    | `hf://datasets/organisation/name@revision/films.lance` | in a dataset repository of the Hub |
    | `postgresql://user:password@host:5432/database/films` | the table `films` of a database |

    What follows a `?` are options, such as `timeout=5` (seconds).

    Args:
        url (`str`): As it was given, with the password.
        scheme (`str`)
        name (`str`): Of the collection.
        folder (`str`, *optional*): The local file or folder; `None` for a server.
        host (`str`), port (`int`, *optional*), user (`str`, *optional*), password (`str`, *optional*)
        database (`str`): What stands between the host and the name.
        options (`Mapping[str, str]`)
    """

    url: str = field(repr=False)
    scheme: str
    name: str
    folder: str | None = None
    host: str = ""
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str, schemes: Sequence[str]) -> StoreLocation:
        """
        Read a URL.

        Args:
            url (`str`)
            schemes (`Sequence[str]`): The ones that are known.

        Raises:
            `ValueError`: If it is no such URL; says what is wrong, without the password.
        """
        parts = urlsplit(url)
        if parts.scheme not in schemes:
            similar = difflib.get_close_matches(parts.scheme, schemes, n=1)
            hint = f"did you mean {similar[0]!r}?" if similar else f"known are {', '.join(f'{s}://' for s in schemes)}"
            raise ValueError(f"{parts.scheme}:// is no store that this release knows: {hint}")
        local = parts.netloc in _LOCAL and parts.scheme not in _REMOTE_ONLY
        place, _, name = unquote(parts.path).rstrip("/").rpartition("/")
        name = name.removesuffix(".lance") if parts.scheme in _LANCE else name
        shown = _shown(parts)
        if not _NAME.fullmatch(name) or (local and not (place or parts.netloc)):
            raise ValueError(
                f"{shown} must end with the name of a collection (letters, digits and _), such as "
                f"{_example(parts.scheme)}"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if local:
            return cls(url, parts.scheme, name, os.path.expanduser(f"{parts.netloc}{place}"), options=options)
        try:
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{shown}: {error}") from None
        user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
        return cls(
            url, parts.scheme, name, None, parts.hostname or "", port, user, password, place.strip("/"), options
        )

    def __str__(self) -> str:
        return without_password(self.url)

    def timeout(self, default: float = 10.0) -> float:
        """Seconds that an answer of the database may take."""
        try:
            seconds = float(self.options.get("timeout", default))
        except ValueError:
            seconds = -1.0
        if not seconds > 0:
            raise ValueError(f"{self}: timeout={self.options['timeout']!r} must be a number of seconds above 0")
        return seconds

    def require_options(self, *known: str) -> None:
        """
        Raises:
            `ValueError`: If an option is unknown, which would be ignored.
        """
        for name in self.options:
            if name not in ("timeout", *known):
                similar = difflib.get_close_matches(name, ("timeout", *known), n=1)
                hint = f"did you mean {similar[0]!r}?" if similar else "leave it out"
                raise ValueError(f"{self}: {name!r} is no option of {self.scheme}://: {hint}")


def without_password(url: str) -> str:
    """
    A URL as messages show it. Other names of an index, such as a directory, stay as they are.

    Args:
        url (`str`)
    """
    return _shown(urlsplit(url)) if is_store_url(url) else url


def _shown(parts: SplitResult) -> str:
    netloc = parts.netloc
    if parts.password is not None:
        netloc = f"{parts.username or ''}:***@{netloc.rpartition('@')[2]}"
    secret = re.sub(r"((?:api_key|password|token)=)[^&]*", r"\1***", parts.query)
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if secret else ''}{secret}"


def _example(scheme: str) -> str:
    if scheme == "postgresql":
        return "postgresql://user:password@localhost:5432/database/films"
    if scheme == "hf":
        return "hf://datasets/organisation/name/films.lance"
    return f"{scheme}://./folder{'.db' if scheme == 'milvus' else ''}/films"
