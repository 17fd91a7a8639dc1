"""`Trace`: the events of one answer as a piece of a page, drawn anew after each event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..generation.events import AnswerEvent, DoneEvent, PassagesEvent, QueryEvent, StreamEvent, TokenEvent
from ..pipelines.confidence import why_withheld
from .cost import Cost, cost_of
from .html import render

_REMARKS = {
    "max_new_tokens": "It was stopped at the most tokens allowed.",
    "context_full": "The model's context is full.",
    "max_hops": "It was not allowed to retrieve once more.",
}


@dataclass
class Hop:
    """
    One retrieval as the page shows it.

    Attributes:
        query (`str`)
        probability (`float`, *optional*)
        tokens_before (`int`): Generated and inserted before the query token, which is counted too.
        passages (`Sequence[Mapping]`, *optional*): `None` while they are searched for.
        inserted_text (`str`)
        inserted_tokens (`int`)
    """

    query: str
    probability: float | None
    tokens_before: int
    passages: Sequence[Mapping[str, Any]] | None = None
    inserted_text: str = ""
    inserted_tokens: int = 0


@dataclass
class Trace:
    """
    Collects events.

    Attributes:
        pieces (`list[str]`): What the model wrote, one piece per hop and one for the rest.
        hops (`list[Hop]`): The one at place `n` comes after the piece at that place.
        answer ([`AnswerEvent`], *optional*)
        done ([`DoneEvent`], *optional*)
    """

    pieces: list[str] = field(default_factory=lambda: [""])
    hops: list[Hop] = field(default_factory=list)
    answer: AnswerEvent | None = None
    done: DoneEvent | None = None
    _tokens: int = 0

    def add(self, event: StreamEvent) -> None:
        """Take the next event."""
        if isinstance(event, TokenEvent):
            self._tokens += 1
            self.pieces[-1] += event.text
        elif isinstance(event, QueryEvent):
            self.hops.append(Hop(event.text, event.probability, self._tokens))
            self.pieces.append("")
        elif isinstance(event, PassagesEvent):
            hop = self.hops[-1]
            hop.passages, hop.inserted_text = event.passages, event.inserted_text
            hop.inserted_tokens = event.inserted_tokens
            self._tokens += event.inserted_tokens
        elif isinstance(event, AnswerEvent):
            self.answer = event
        elif isinstance(event, DoneEvent):
            self.done = event

    def cost(self) -> Cost | None:
        """What the answer cost, and would have cost otherwise; `None` before it is done."""
        if self.done is None:
            return None
        usage = self.done.usage
        lengths = [usage["prompt_tokens"] + hop.tokens_before for hop in self.hops]
        return cost_of(usage["forwarded_tokens"], lengths)

    def cited(self, hop: int, passage: Mapping[str, Any]) -> tuple[str, str, str]:
        """The text of a passage before, inside and after the span that the answer was copied from."""
        text = passage["text"]
        for citation in () if self.answer is None else self.answer.citations:
            if (citation["hop"], citation["passage_id"]) == (hop, passage["id"]):
                start, end = citation["start"], citation["end"]
                return text[:start], text[start:end], text[end:]
        return text, "", ""

    def cited_titles(self) -> list[str]:
        """The titles of the passages that the answer stands in; the id of one without a title."""
        titles = []
        for citation in () if self.answer is None else self.answer.citations:
            passages = self.hops[citation["hop"]].passages or ()
            titles += [
                passage["title"] or passage["id"] for passage in passages if passage["id"] == citation["passage_id"]
            ]
        return titles

    def withheld(self) -> str | None:
        """Why there is no answer, if a threshold is the reason."""
        return None if self.done is None else why_withheld({"answer": "", **self.done.result})

    def remarks(self) -> list[str]:
        """Why generation or retrieval ended early, in words."""
        if self.done is None:
            return []
        reasons = (self.done.stop_reason, self.done.result["retrieval_stopped"])
        return list(dict.fromkeys(_REMARKS[reason] for reason in reasons if reason in _REMARKS))

    def html(self) -> str:
        """As HTML; all text is escaped."""
        return render("trace.html.jinja", trace=self, cost=self.cost())
