"""`StopTrimmer`: keeps a stop string, and what follows it, out of a streamed text."""

from __future__ import annotations

from collections.abc import Sequence


class StopTrimmer:
    """
    Passes a text on piece by piece, and holds back what may turn out to be a stop string.

    Args:
        stops (`Sequence[str]`)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self._held = ""

    def add(self, piece: str) -> str:
        """What can be passed on, of this piece and those before it."""
        text = self._held + piece
        cut = min((place for place in map(text.find, self.stops) if place >= 0), default=self._begin_of_stop(text))
        self._held = text[cut:]
        return text[:cut]

    def finish(self, stopped: bool) -> str:
        """
        The rest.

        Args:
            stopped (`bool`): Whether a stop string ended the text; it and what stands behind it are dropped.
        """
        held, self._held = self._held, ""
        if not stopped:
            return held
        return held[: min((place for place in map(held.find, self.stops) if place >= 0), default=len(held))]

    def _begin_of_stop(self, text: str) -> int:
        """Where the longest end of a text that begins a stop string begins."""
        longest = max(map(len, self.stops), default=1) - 1
        for start in range(max(len(text) - longest, 0), len(text)):
            if any(stop.startswith(text[start:]) for stop in self.stops):
                return start
        return len(text)
