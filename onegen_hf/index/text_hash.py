"""Hashes of passages: by their id, and by what of them shapes an embedding."""

from __future__ import annotations

import hashlib

import numpy as np

from ..data.passages import Passage


def hash_id(identifier: str) -> bytes:
    """16 bytes that no other id has."""
    return hashlib.blake2b(identifier.encode(), digest_size=16).digest()


def hash_text(passage: Passage) -> bytes:
    """16 bytes that change with whatever of a passage shapes its embedding: title, text and sentences."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (passage.title, passage.text, *passage.sentences):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.digest()


def as_halves(hashes: list[bytes]) -> np.ndarray:
    """Hashes of 16 bytes as an array of shape `(n, 2)`, uint64."""
    return np.frombuffer(b"".join(hashes), "<u8").reshape(len(hashes), 2)
