"""`RememberedTurns`: what was retrieved in the turns that a server answered, for clients that send back only text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from ..checks import checked, integer
from ..data.earlier_retrievals import FIELD
from ..data.messages import Message

MOST_CHARACTERS = 32_000_000
"""Of all passages together."""


class RememberedTurns:
    """
    A bounded memory: the least recently used turns are forgotten first. A turn is known by its client and by the text
    of the chat up to its end, so nobody reads what another client's question retrieved. Not safe for several threads.

    Args:
        most_turns (`int`): 0 remembers nothing.
        most_characters (`int`, *optional*)

    Example:

    ```python
    >>> turns = RememberedTurns(1024)
    >>> turns.remember(client, messages, result.content, result.retrievals)
    >>> turns.recall(client, [*messages, {"role": "assistant", "content": result.content}, follow_up])
    ```
    """

    @checked(most_turns=integer(least=0), most_characters=integer(least=0))
    def __init__(self, most_turns: int, most_characters: int = MOST_CHARACTERS) -> None:
        self.most_turns = most_turns
        self.most_characters = most_characters
        self._turns: OrderedDict[bytes, list[dict[str, Any]]] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._turns)

    def remember(
        self, client: str, messages: Sequence[Message], content: str, retrievals: Sequence[Mapping[str, Any]]
    ) -> None:
        """
        Keep what was retrieved for the answer to a chat.

        Args:
            client (`str`)
            messages (`Sequence[Mapping]`): The chat in front of the answer.
            content (`str`): The answer as the client got it.
            retrievals (`Sequence[Mapping]`): As results hold them.
        """
        if not retrievals:
            return
        *_, key = _prefixes(client, [*messages, {"role": "assistant", "content": content}])
        self._forget(key)
        kept = [_bare(retrieval, -_margin(content)) for retrieval in retrievals]
        self._turns[key] = kept
        self._characters += _size(kept)
        while len(self._turns) > self.most_turns or self._characters > self.most_characters:
            self._forget(next(iter(self._turns)))

    def recall(self, client: str, messages: Sequence[Message]) -> list[Message]:
        """
        A chat whose turns of the assistant have `retrievals` where they are remembered. A turn that has the field
        already, filled or empty, stays as it is.

        Args:
            client (`str`)
            messages (`Sequence[Mapping]`)
        """
        recalled: list[Message] = []
        for message, key in zip(messages, _prefixes(client, messages), strict=True):
            if message["role"] == "assistant" and FIELD not in message and key in self._turns:
                self._turns.move_to_end(key)
                shift = _margin(message["content"])
                message = {**message, FIELD: [_bare(retrieval, shift) for retrieval in self._turns[key]]}
            recalled.append(message)
        return recalled

    def _forget(self, key: bytes) -> None:
        self._characters -= _size(self._turns.pop(key, []))


def _prefixes(client: str, messages: Sequence[Message]) -> Iterator[bytes]:
    """For each message, what identifies the chat up to it. Clients may have trimmed texts."""
    state = blake2b(client.encode(), digest_size=16)
    for message in messages:
        for part in (message["role"], message["content"].strip()):
            encoded = part.encode("utf-8", "surrogatepass")
            state.update(len(encoded).to_bytes(8, "big") + encoded)
        yield state.copy().digest()


def _margin(text: str) -> int:
    """White space in front of a text."""
    return len(text) - len(text.lstrip())


def _bare(retrieval: Mapping[str, Any], shift: int) -> dict[str, Any]:
    """What a later prompt needs."""
    passages = [{name: passage[name] for name in ("id", "title", "text")} for passage in retrieval["passages"]]
    return {
        "query": retrieval["query"], "position": max(retrieval["position"] + shift, 0), "passages": passages
    }  # fmt: skip


def _size(retrievals: Sequence[Mapping[str, Any]]) -> int:
    passages = [passage for retrieval in retrievals for passage in retrieval["passages"]]
    return sum(len(passage["title"]) + len(passage["text"]) for passage in passages)
