"""Who may run a model: any number of threads at a time, but alone who changes its configuration meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch


class ForwardLock:
    """
    A lock with two ways in. Forwards share it. A packed forward of the decoder, during which the configuration names
    another attention, takes it alone, after the forwards that run and before those that come later.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._waiting = 0
        self._owner: int | None = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """For a forward; within [`~ForwardLock.alone`] of the same thread it is no second way in."""
        if self._owner == threading.get_ident():
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._owner is None and not self._waiting)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For what no forward of another thread may see."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._owner is None and not self._sharing)
            finally:
                self._waiting -= 1
                self._changed.notify_all()
            self._owner = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                self._owner = None
                self._changed.notify_all()


_locks: WeakKeyDictionary[Any, ForwardLock] = WeakKeyDictionary()
_locks_lock = threading.Lock()


def lock_of(model: Any) -> ForwardLock:
    """The lock of a model (`nn.Module`)."""
    with _locks_lock:
        lock = _locks.get(model)
        if lock is None:
            lock = _locks[model] = ForwardLock()
        return lock


@contextmanager
def running(model: Any) -> Iterator[None]:
    """Hold the shared lock of a model; nothing within `torch.compile`, which can't trace one."""
    if torch.compiler.is_compiling():
        yield
        return
    with lock_of(model).shared():
        yield
