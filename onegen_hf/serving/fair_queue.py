"""`FairQueue`: clients take turns, however many requests each of them sends."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """
    Requests that wait, by client. The next one is that of the client with the fewest running requests; among these,
    of the one whose last turn is longest ago. A client's own requests keep their order.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Item]] = OrderedDict()  # the client whose turn is longest ago first

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def push(self, client: str, item: Item) -> None:
        """Let a request wait."""
        self._waiting.setdefault(client, deque()).append(item)

    def count(self, client: str) -> int:
        """Number of requests of a client that wait."""
        return len(self._waiting.get(client, ()))

    def _next_client(self, running: Counter[str]) -> str:
        return min(self._waiting, key=lambda client: running[client])  # the first of several

    def peek(self, running: Counter[str]) -> Item:
        """
        Whose turn it is.

        Args:
            running (`Counter[str]`): Running requests of each client.
        """
        return self._waiting[self._next_client(running)][0]

    def pop(self, running: Counter[str]) -> Item:
        """Take out what [`~FairQueue.peek`] shows."""
        client = self._next_client(running)
        queue = self._waiting[client]
        item = queue.popleft()
        if queue:
            self._waiting.move_to_end(client)
        else:
            del self._waiting[client]
        return item

    def take(self, items: set[Item]) -> None:
        """Take out some requests, wherever they stand."""
        for client, queue in list(self._waiting.items()):
            kept = deque(item for item in queue if item not in items)
            if kept:
                self._waiting[client] = kept
            else:
                del self._waiting[client]

    def items(self) -> list[Item]:
        """All that wait."""
        return [item for queue in self._waiting.values() for item in queue]
