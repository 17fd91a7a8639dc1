"""`IndexProperties`: what a collection in a database says of the index that it is."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checks import check, choice, instance, integer, optional, text
from ..fingerprint import ModelFingerprint

FORMAT_VERSION = 1
_RULES = {
    "dimension": integer(least=1),
    "dimensions": optional(integer(least=1)),
    "precision": text(),
    "granularity": choice(["passage", "sentence"]),
    "facts": instance(dict),
    "probes": text(),
    "complete": instance(bool),
}


@dataclass(frozen=True)
class IndexProperties:
    """
    The index that a collection holds.

    Args:
        fingerprint ([`ModelFingerprint`]): Of the model that made the embeddings.
        dimension (`int`): Of whole embeddings.
        dimensions (`int`, *optional*): How many numbers of each are kept; by default all.
        precision (`str`): Of the numbers.
        granularity (`str`): `"passage"` or `"sentence"`.
        model_id (`str`, *optional*), revision (`str`, *optional*): Of the model.
        complete (`bool`, *optional*, defaults to `True`): Whether the first build has come to its end.
    """

    fingerprint: ModelFingerprint
    dimension: int
    dimensions: int | None
    precision: str
    granularity: str
    model_id: str | None
    revision: str | None
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form. The probes of the fingerprint are rounded to float16: a cosine needs no more."""
        probes = np.ascontiguousarray(self.fingerprint.probes, np.float16)
        return {
            "format_version": FORMAT_VERSION,
            "dimension": self.dimension,
            "dimensions": self.dimensions,
            "precision": self.precision,
            "granularity": self.granularity,
            "model_id": self.model_id,
            "revision": self.revision,
            "complete": self.complete,
            "facts": dict(self.fingerprint.facts),
            "probes": base64.b64encode(probes.tobytes()).decode(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], place: str) -> IndexProperties:
        """
        Inverse of [`~IndexProperties.to_dict`].

        Args:
            values (`Mapping[str, Any]`)
            place (`str`): What errors call the collection.

        Raises:
            `ValueError`: If the collection is no index, one of a newer release, or damaged.
        """
        version = values.get("format_version")
        if not isinstance(version, int):
            raise ValueError(f"{place} is there, but was not made by this package: choose another name")
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{place} has format version {version}, and this release reads up to {FORMAT_VERSION}: "
                "pip install --upgrade onegen-hf"
            )
        try:
            missing = [name for name in _RULES if name not in values]
            if missing:
                raise ValueError(f"it lacks {missing}")
            check(values, _RULES)
            raw = np.frombuffer(base64.b64decode(values["probes"], validate=True), np.float16)
            probes = raw.astype(np.float32).reshape(-1, values["dimension"])
            fingerprint = ModelFingerprint.from_dict({"facts": values["facts"], "probes": probes})
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{place}: the properties of the collection are damaged ({error}): build it again"
            ) from error
        return cls(
            fingerprint,
            values["dimension"],
            values["dimensions"],
            values["precision"],
            values["granularity"],
            values.get("model_id"),
            values.get("revision"),
            values["complete"],
        )
