"""The forms in which the endpoints put their answers: whole, or in the chunks of a stream."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ...generation.events import DoneEvent, PassagesEvent, QueryEvent, StreamEvent, TokenEvent
from ...pipelines.confidence import retrieval_confidence, why_withheld
from ...pipelines.results import inserted_retrievals
from .schemas import GenerationBody
from .stop_strings import StopTrimmer

FINISH_REASONS = {
    "eos": "stop",
    "stopping_criteria": "stop",
    "max_new_tokens": "length",
    "context_full": "length",
    "max_segments": "length",
}
OF_RESULT = (
    "answer", "answered", "confidence", "retrieval_confidence", "answer_confidence", "answer_threshold", "citations",
    "retrievals", "stop_reason", "retrieval_stopped", "score", "segments", "candidates", "answer_scores",
)  # fmt: skip
"""Fields of the pipeline's result that stand beside OpenAI's; the last ones are there with critique only."""


class Shape:
    """
    The form of one answer.

    A stream can't take back what it has sent. What is written after passages that score below the threshold is held
    back, since the answer will be withheld; with critique, which chooses at the end, all content is.

    Args:
        model_name (`str`)
        body ([`GenerationBody`])
        holds_back (`bool`, *optional*, defaults to `False`): Whether a stream has its content at the end.
        threshold (`float`, *optional*): Least score of the best passage of each hop of an answer.
        answered (`Callable`, *optional*): Receives the content and the last event of an answer that is not withheld.
    """

    prefix: str
    whole_object: str
    chunk_object: str

    def __init__(
        self,
        model_name: str,
        body: GenerationBody,
        holds_back: bool = False,
        threshold: float | None = None,
        answered: Callable[[str, DoneEvent], None] | None = None,
    ) -> None:
        self.body = body
        self.holds_back = holds_back
        self.threshold = -math.inf if threshold is None else threshold
        self.base = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model_name}
        stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
        self._trimmer = StopTrimmer(stops)
        self._answered = answered
        self._content = ""
        self._sent = 0  # characters of the content

    def choice(self, text: str, finish_reason: str, refusal: str | None, done: DoneEvent) -> dict[str, Any]:
        """The one choice of a whole answer."""
        raise NotImplementedError

    def piece(self, text: str, finish_reason: str | None, refusal: str | None = None) -> dict[str, Any]:
        """The one choice of a chunk."""
        raise NotImplementedError

    def whole(self, text: str, done: DoneEvent) -> dict[str, Any]:
        """The answer at once."""
        self._add(text)
        refusal = self._end(done)
        return {
            **self.base,
            "object": self.whole_object,
            "choices": [self.choice(self._content, FINISH_REASONS[done.stop_reason], refusal, done)],
            "usage": usage_of(done.usage),
            **_fields_of(done),
        }

    def first(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        return []

    def chunks(self, event: StreamEvent) -> list[dict[str, Any]]:
        """What a stream says of an event."""
        if isinstance(event, TokenEvent):
            self._add(event.text)
            return [] if self.holds_back else self._unsent()
        if isinstance(event, PassagesEvent):
            score = retrieval_confidence([event.passages[0]["score"] if event.passages else None])
            self.holds_back |= score is not None and score < self.threshold
        if isinstance(event, (QueryEvent, PassagesEvent)):
            return [self._chunk("", event=event.to_dict())]
        return self._last_chunks(event) if isinstance(event, DoneEvent) else []

    def _last_chunks(self, done: DoneEvent) -> list[dict[str, Any]]:
        refusal = self._end(done)
        chunks = self._unsent()
        last = self._chunk("", FINISH_REASONS[done.stop_reason], refusal)
        chunks.append({**last, **_fields_of(done)})
        if self.body.stream_options is not None and self.body.stream_options.include_usage:
            chunks.append({**self._chunk(""), "choices": [], "usage": usage_of(done.usage)})
        return chunks

    def _add(self, text: str) -> None:
        """The part of a text that can be passed on is content."""
        self._content += self._trimmer.add(text)

    def _unsent(self) -> list[dict[str, Any]]:
        """A chunk with the content that no chunk has had, if there is any."""
        text, self._sent = self._content[self._sent :], len(self._content)
        return [self._chunk(text)] if text else []

    def _end(self, done: DoneEvent) -> str | None:
        """Complete the content, or drop it; why, if the answer is withheld."""
        self._content += self._trimmer.finish(done.stop_reason == "stopping_criteria")
        refusal = why_withheld(done.result)
        if refusal is not None:
            self._content = ""
        elif self._answered is not None:
            self._answered(self._content, done)
        return refusal

    def _chunk(
        self, text: str, finish_reason: str | None = None, refusal: str | None = None, **others: Any
    ) -> dict[str, Any]:
        choice = self.piece(text, finish_reason, refusal)
        return {**self.base, "object": self.chunk_object, "choices": [choice], **others}


class ChatShape(Shape):
    """Of `/v1/chat/completions`."""

    prefix, whole_object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, text: str, finish_reason: str, refusal: str | None, done: DoneEvent) -> dict[str, Any]:
        """A message that can be sent back as it is: what was retrieved stays in the chat."""
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
        if refusal is None:
            message["retrievals"] = inserted_retrievals(done.result)
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}

    def piece(self, text: str, finish_reason: str | None, refusal: str | None = None) -> dict[str, Any]:
        """A part of the message."""
        delta = {"content": text} if text else {} if refusal is None else {"refusal": refusal}
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}

    def first(self) -> list[dict[str, Any]]:
        """The role."""
        chunk = self._chunk("")
        chunk["choices"][0]["delta"] = {"role": "assistant", "content": ""}
        return [chunk]


class CompletionShape(Shape):
    """Of `/v1/completions`."""

    prefix, whole_object, chunk_object = "cmpl", "text_completion", "text_completion"

    def choice(self, text: str, finish_reason: str, refusal: str | None, done: DoneEvent) -> dict[str, Any]:
        """All of the text."""
        return self.piece(text, finish_reason)

    def piece(self, text: str, finish_reason: str | None, refusal: str | None = None) -> dict[str, Any]:
        """A part of the text."""
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _fields_of(done: DoneEvent) -> dict[str, Any]:
    return {name: done.result[name] for name in OF_RESULT if name in done.result}


def usage_of(usage: Mapping[str, int]) -> dict[str, int]:
    """OpenAI's counts, and ours: retrieved tokens are neither prompt nor completion."""
    prompt, generated = usage["prompt_tokens"], usage["generated_tokens"]
    return {**usage, "prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
