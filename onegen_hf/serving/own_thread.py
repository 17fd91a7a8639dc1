"""`in_own_thread`: torch work beside decoding that leaves no threads of its own behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


def in_own_thread(function: Callable[..., Result], *args: Any) -> Result:
    """
    Call a function in a thread that ends with it, and wait for its result.

    Each thread that computes with torch has OpenMP's workers for it until it ends. Where all of them together are more
    than the cores, workers sleep after each operation instead of waiting for the next one, and a step of decoding,
    which is many short operations, takes a third longer. So only the thread that decodes may keep its workers.

    Args:
        function (`Callable`)
        *args: Of the function.

    Example:

    ```python
    >>> services = in_own_thread(load_services, options, limits)
    ```
    """
    outcome: Future[Result] = Future()

    def call() -> None:
        try:
            outcome.set_result(function(*args))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(
        target=call, name="onegen-" + getattr(function, "__name__", "call").strip("<>"), daemon=True
    )
    thread.start()
    thread.join()
    return outcome.result()
