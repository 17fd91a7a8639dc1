"""`PostgresConnections`: connections to a PostgreSQL server, with a timeout that holds whatever the server does."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .base import StoreError
from .location import StoreLocation

_IDLE = 4
"""Connections that are kept open."""


class PostgresConnections:
    """
    Connections to the server of a location. Threads may use them at the same time.

    Args:
        location ([`StoreLocation`]): Options other than `index` and `timeout` go to the client.
    """

    def __init__(self, location: StoreLocation) -> None:
        self.location, self.timeout = location, location.timeout()
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self, seconds: float | None = None) -> Iterator[Any]:
        """
        A connection for one transaction, which is committed at the end or undone.

        Args:
            seconds (`float`, *optional*): How long it may take; by default the timeout of the location.

        Raises:
            `StoreError`: If the server refuses or does not answer in time.
        """
        import psycopg

        try:
            connection = self._take() or self._connect()
            try:
                with _ends_after(connection, seconds or self.timeout), connection.transaction():
                    yield connection
            except BaseException:
                connection.close()
                raise
            with self._lock:
                if len(self._idle) < _IDLE:
                    self._idle.append(connection)
                    return
            connection.close()
        except psycopg.Error as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StoreError(
                f"{self.location}: PostgreSQL refuses or does not answer ({reason}): see that the server runs, "
                "user and password are right, and the extension pgvector is installed there"
            ) from error

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> Any:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        # One that the server has given up meanwhile is not used again.
        return None if connection is None or connection.closed or not _alive(connection) else connection

    def _connect(self) -> Any:
        import psycopg

        location = self.location
        others: dict[str, Any] = {
            name: value for name, value in location.options.items() if name not in ("timeout", "index")
        }
        seconds = max(2, round(self.timeout))
        return psycopg.connect(
            host=others.pop("host", None) or location.host or None,
            port=location.port,
            user=location.user,
            password=location.password,
            dbname=location.database or None,
            connect_timeout=seconds,
            autocommit=True,
            tcp_user_timeout=seconds * 1000,
            **others,
        )


def send_vectors(connection: Any) -> None:
    """Let a connection send arrays of numbers as vectors, in binary; the database must have pgvector."""
    if connection.adapters.types.get("vector") is None:
        from pgvector.psycopg import register_vector

        register_vector(connection)


@contextmanager
def _ends_after(connection: Any, seconds: float) -> Iterator[None]:
    """
    Shut the connection down when the time is over. The client has no timeout of its own, and waits for ever for a
    server that has stopped.
    """

    def give_up() -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _alive(connection: Any) -> bool:
    """Whether the server has not closed a connection while it lay idle."""
    readable, _, _ = select.select([connection.fileno()], [], [], 0)
    return not readable
