"""`EarlierRetrieval`: what was retrieved in an earlier turn of a chat, and where in that turn it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checks import integer, shown, text
from .passages import Passage

FIELD = "retrievals"
"""Of an assistant's message: a list of mappings with `passages`, `query` and `position`, as results hold them."""


@dataclass(frozen=True)
class EarlierRetrieval:
    """
    One hop of a turn that has been answered.

    Args:
        passages (`tuple[Passage, ...]`): Best first.
        query (`str`, *optional*): The line of the content after which they were inserted.
        position (`int`, *optional*): Characters of the content in front of them.
    """

    passages: tuple[Passage, ...]
    query: str = ""
    position: int | None = None

    @classmethod
    def of(cls, value: Any, name: str) -> EarlierRetrieval:
        """
        Read one hop of a message.

        Args:
            value (`Mapping`): With `passages`, and perhaps `query` and `position`; other items are ignored.
            name (`str`): Begins the message of an error.

        Raises:
            `TypeError` or `ValueError`: If it is no such mapping.
        """
        if not isinstance(value, Mapping) or not _is_list(value.get("passages")):
            raise TypeError(f"{name}={shown(value)} must be a mapping with a list of 'passages', as results hold it")
        passages = tuple(Passage.from_record(record, number) for number, record in enumerate(value["passages"]))
        query, position = value.get("query"), value.get("position")
        return cls(
            passages,
            "" if query is None else text(empty=True)(f"{name}: query", query),
            None if position is None else integer(least=0)(f"{name}: position", position),
        )

    def end(self, content: str, start: int) -> int:
        """
        Where in a content its passages were inserted.

        Args:
            content (`str`): Clients may have trimmed it, so the query is searched for where it is not in its place.
            start (`int`): End of the hop before.
        """
        query = self.query.strip()
        place = min(max(start if self.position is None else self.position, start), len(content))
        line = content[start:place].strip().rpartition("\n")[2]
        if self.position is not None and line in ("", query):
            return place
        found = content.find(query, start) if query else -1
        return place if found < 0 else found + len(query)


def earlier_retrievals(message: Mapping[str, Any]) -> tuple[EarlierRetrieval, ...]:
    """
    The hops that a message carries.

    Raises:
        `TypeError` or `ValueError`: If they are malformed, or the message is no turn of the assistant.
    """
    value = message.get(FIELD)
    if value is None:
        return ()
    name = f"messages: {FIELD}"
    if not _is_list(value):
        raise TypeError(f"{name}={shown(value)} must be a list of mappings with 'passages'")
    if value and message["role"] != "assistant":
        raise ValueError(
            f"{name} stands in a message of the role {message['role']!r}: only the assistant's turns have them"
        )
    return tuple(EarlierRetrieval.of(hop, f"{name}[{number}]") for number, hop in enumerate(value))


def pieces(content: str, retrievals: Sequence[EarlierRetrieval]) -> Iterator[tuple[str, EarlierRetrieval | None]]:
    """
    Cut the content of a turn where its passages were inserted.

    Yields:
        `tuple[str, EarlierRetrieval | None]`: A text and the hop that follows it; none follows the last text.
    """
    start = 0
    for retrieval in retrievals:
        end = retrieval.end(content, start)
        yield content[start:end], retrieval
        start = end
    yield content[start:], None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
