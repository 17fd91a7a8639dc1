"""`TextPieces`: token ids to text, one token at a time."""

from __future__ import annotations

from collections.abc import Callable


class TextPieces:
    """
    Decodes a text piece by piece. The pieces joined are the text of all ids decoded together: a token that ends inside
    a character waits for those that complete it.

    Args:
        decode (`Callable`): Token ids → text.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self._ids: list[int] = []
        # A token's text depends on the token before it (spaces), so each decoding begins with the last piece.
        self._last_piece = self._next_piece = 0

    def add(self, token: int) -> str:
        """
        Take the next id.

        Args:
            token (`int`)

        Returns:
            `str`: The text that is complete now and was not before, often all of the token.
        """
        self._ids.append(token)
        piece = self._rest()
        if not piece or piece.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._last_piece, self._next_piece = self._next_piece, len(self._ids)
        return piece

    def finish(self) -> str:
        """The text of ids that never completed a character."""
        piece = self._rest()
        self._last_piece = self._next_piece = len(self._ids)
        return piece

    def _rest(self) -> str:
        before = self.decode(self._ids[self._last_piece : self._next_piece])
        return self.decode(self._ids[self._last_piece :])[len(before) :]
