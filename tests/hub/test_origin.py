"""Where a model came from, and how: a token stays in the process."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

from onegen_hf.hub.origin import Origin, access_of

ORIGIN = Origin.of(
    "org/m", "abc", {"token": "secret", "cache_dir": "there", "local_files_only": None, "dtype": "auto"}
)


def test_access_is_what_was_given() -> None:
    assert access_of(SimpleNamespace(origin=ORIGIN)) == {"token": "secret", "cache_dir": "there"}
    assert access_of(SimpleNamespace(origin=None)) == {}


def test_a_token_is_neither_printed_nor_pickled() -> None:
    assert "secret" not in repr(ORIGIN)
    pickled = pickle.dumps(ORIGIN)
    assert b"secret" not in pickled
    assert pickle.loads(pickled) == ORIGIN and pickle.loads(pickled).access == {"cache_dir": "there"}
    assert copy.deepcopy(ORIGIN).access == ORIGIN.access
