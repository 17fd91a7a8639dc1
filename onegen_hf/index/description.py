"""index.json: what it must hold, and whether the files beside it are those that it speaks of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..checks import check, choice, instance, integer, optional, text
from ..hub.layout import DESCRIPTION_FILE, PASSAGES_FILE, WORDS_FILE
from .backends import BACKENDS, FaissBackend, VectorBackend
from .checksum import sampled_sha256
from .fingerprint import ModelFingerprint

FORMAT_VERSION = 1
RESAVE_HINT = "save the index again, or download it with `force_download=True`"
_MAX_DESCRIPTION_BYTES = 64 * 2**20
_MAX_NAME = 500
_RULES = {
    "fingerprint": instance(dict),
    "dimension": integer(least=1),
    "metric": choice(["inner_product"]),
    "passages": integer(least=1),
    "embeddings": integer(least=1),
    "granularity": choice(["passage", "sentence"]),
    "files": instance(dict),
}
"""What index.json must hold."""


def model_description(
    fingerprint: ModelFingerprint, dimension: int, model_id: str | None, revision: str | None
) -> dict[str, Any]:
    """
    What index.json says of the model.

    Args:
        fingerprint ([`ModelFingerprint`])
        dimension (`int`): Of a whole embedding.
        model_id (`str`, *optional*), revision (`str`, *optional*)
    """
    return {
        "fingerprint": fingerprint.to_dict(),
        "dimension": dimension,
        "granularity": str(fingerprint.facts.get("granularity", "passage")),
        "model_id": model_id,
        "revision": revision,
    }


def vectors_description(backend: VectorBackend, passages: int, embeddings: int) -> dict[str, Any]:
    """
    What index.json says of the vectors.

    Args:
        backend ([`VectorBackend`]): Whose name and settings are kept; may be empty.
        passages (`int`), embeddings (`int`): Their numbers.
    """
    return {
        "backend": backend.name,
        "metric": "inner_product",
        "passages": passages,
        "embeddings": embeddings,
        **backend.settings,
    }


def read_description(root: Path) -> dict[str, Any]:
    """
    Read index.json and check it, and the files that it speaks of.

    Args:
        root (`Path`)

    Returns:
        `dict[str, Any]`

    Raises:
        `FileNotFoundError`: If a file is missing.
        `ValueError`: If index.json is damaged or of a newer version, or a file is not the one that was written.
    """
    path = root / DESCRIPTION_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: {root} holds no complete index. Save it again with `PassageIndex.save` (the file is "
            "written last, so an interrupted save leaves none), or download the repository again."
        )
    _require_inside(path, root)
    description = parsed_description(path)
    format_version = description.get("format_version")
    if not isinstance(format_version, int):
        raise ValueError(f"{path} has no format_version: it was not written by `PassageIndex.save`")
    if format_version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {format_version}, and this release reads up to {FORMAT_VERSION}: "
            "pip install --upgrade onegen-hf"
        )
    missing = [key for key in _RULES if key not in description]
    if missing:
        raise ValueError(f"{path} lacks {missing}: {RESAVE_HINT}")
    if not isinstance(description["files"], dict):
        raise ValueError(f"{path}: 'files' is no object of file names and sizes: {RESAVE_HINT}")
    # Nothing is opened by a name from index.json; one that leads elsewhere shows that the repository means harm.
    strange = [name for name in description["files"] if not _is_plain(name)]
    if strange:
        raise ValueError(f"{path} names the file {strange[0]!r}, which is not beside it: don't use this index")
    checksums = description.get("checksums", {})  # none in an index of before they were introduced
    if not isinstance(checksums, dict):
        raise ValueError(f"{path}: 'checksums' is no object of file names and checksums: {RESAVE_HINT}")
    backend = backend_of(description, path)
    _check_values(path, description, backend)
    names = [backend.file_name, PASSAGES_FILE, *([WORDS_FILE] if WORDS_FILE in description["files"] else [])]
    for name in names:
        _check_file(root / name, description["files"].get(name), checksums.get(name))
    return description


def require_same(root: Path, description: Mapping[str, Any], actual: Mapping[str, Any]) -> None:
    """
    Compare index.json with what the files beside it hold.

    Args:
        root (`Path`)
        description (`Mapping[str, Any]`)
        actual (`Mapping[str, Any]`)

    Raises:
        `ValueError`: If they differ.
    """
    wrong = [
        f"{key}: {actual[key]} instead of {description[key]}" for key in actual if actual[key] != description[key]
    ]
    if wrong:
        raise ValueError(
            f"{root}: the files disagree with index.json ({', '.join(wrong)}): they come from different indexes. "
            "Save or download the index again."
        )


def require_unedited(root: Path, description: Mapping[str, Any]) -> None:
    """
    Compare index.json with its own checksum. To be called last: whatever else is wrong with it says more.

    Args:
        root (`Path`)
        description (`Mapping[str, Any]`): As it was read.

    Raises:
        `ValueError`: If it is not what was written. An index of a release before these checksums passes.
    """
    expected = description.get("checksums", {}).get(DESCRIPTION_FILE)
    if expected is not None and expected != description_checksum(description):
        raise ValueError(
            f"{root / DESCRIPTION_FILE} is not what was written, by its own checksum: it was edited or is damaged; "
            f"{RESAVE_HINT}"
        )


def backend_of(description: Mapping[str, Any], path: Path) -> type[VectorBackend]:
    """
    The class that reads the vectors of an index.

    Args:
        description (`Mapping[str, Any]`): The content of index.json; without a name of a backend, as older releases
            wrote it, it means FAISS.
        path (`Path`): Of index.json.

    Raises:
        `ValueError`: If this release has no such backend.
    """
    name = description.get("backend", FaissBackend.name)
    if not isinstance(name, str) or name not in BACKENDS:
        raise ValueError(
            f"{path} has the backend {name!r}, and this release knows {', '.join(map(repr, BACKENDS))}: "
            "pip install --upgrade onegen-hf"
        )
    return BACKENDS[name]


def description_digest(root: Path) -> str:
    """What tells an index in a directory from any other that may be saved there later."""
    return hashlib.sha256((root / DESCRIPTION_FILE).read_bytes()).hexdigest()


def parsed_description(path: Path) -> dict[str, Any]:
    """
    Parse index.json, unchecked.

    Raises:
        `ValueError`: If it is no JSON, or unreasonably large or deep.
    """
    try:
        if path.stat().st_size > _MAX_DESCRIPTION_BYTES:
            raise ValueError(f"it has more than {_MAX_DESCRIPTION_BYTES} bytes")
        description = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): {RESAVE_HINT}") from error
    return description if isinstance(description, dict) else {}


def _check_values(path: Path, description: Mapping[str, Any], backend: type[VectorBackend]) -> None:
    # Names go into cards, logs and errors: nothing in them may act there.
    names = {name: _plain_text for name in ("model_id", "revision")}
    if backend is FaissBackend:
        names["factory"] = _plain_text
    try:
        if backend is FaissBackend:
            text()("factory", description.get("factory"))
        check(
            description,
            {
                **_RULES,
                "dimensions": optional(integer(least=1)),
                **{name: optional(rule) for name, rule in names.items()},
            },
        )
        for name, size in description["files"].items():
            integer(least=0)(f"files[{name!r}]", size)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): {RESAVE_HINT}") from error


def _plain_text(name: str, value: Any) -> str:
    value = text()(name, value)
    if len(value) > _MAX_NAME or not value.isprintable() or set("<>`|") & set(value):
        raise ValueError(
            f"{name}={value[:_MAX_NAME]!r} is no name: it is longer than {_MAX_NAME} characters, or holds control "
            "characters or markup"
        )
    return value


def description_checksum(description: Mapping[str, Any]) -> str:
    """SHA-256 of the content of index.json without this checksum."""
    checksums = {name: value for name, value in description["checksums"].items() if name != DESCRIPTION_FILE}
    content = json.dumps({**description, "checksums": checksums}, sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _require_inside(file: Path, root: Path) -> None:
    """A link in a folder of a stranger could lead to any file of this machine; the Hub's cache links to its blobs."""
    target, folder = file.resolve(), root.resolve()
    allowed = [folder]
    for parent in folder.parents:
        if parent.name == "snapshots":
            allowed.append(parent.parent / "blobs")
    if not any(target.is_relative_to(place) for place in allowed):
        raise ValueError(
            f"{file} is a link to {target}, which is not in the folder of the index: don't use this index, or put the "
            "file itself there"
        )


def _check_file(file: Path, size: int | None, checksum: str | None) -> None:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {RESAVE_HINT}")
    _require_inside(file, file.parent)
    # Before the file is mapped: reading past the end of a truncated mapping kills the process.
    actual = file.stat().st_size
    if actual != size:
        raise ValueError(
            f"{file} has {actual} bytes and {DESCRIPTION_FILE} says {size}: it is truncated, or the files come from "
            f"different indexes; {RESAVE_HINT}"
        )
    if checksum is not None and sampled_sha256(file) != checksum:
        raise ValueError(
            f"{file} has another content than {DESCRIPTION_FILE} says: it is damaged, or the files come from "
            f"different indexes; {RESAVE_HINT}"
        )


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and PurePosixPath(name).name == name == PureWindowsPath(name).name
