"""The forms in which the endpoints put their answers: whole, or in the chunks of a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ...generation.events import DoneEvent, PassagesEvent, QueryEvent, StreamEvent, TokenEvent
from ...pipelines.confidence import why_withheld
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

    A stream can't take back what it has sent. Where a threshold may withhold the answer, which then stands nowhere in
    OpenAI's content, or critique chooses it at the end, a stream holds the content back to the end.

    Args:
        model_name (`str`)
        body ([`GenerationBody`])
        holds_back (`bool`, *optional*, defaults to `False`): Whether a stream has its content at the end.
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
        answered: Callable[[str, DoneEvent], None] | None = None,
    ) -> None:
        self.body = body
        self.holds_back = holds_back
        self.base = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model_name}
        stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
        self._trimmer = StopTrimmer(stops)
        self._answered = answered
        self._content = ""

    def choice(self, text: str, finish_reason: str, refusal: str | None, done: DoneEvent) -> dict[str, Any]:
        """The one choice of a whole answer."""
        raise NotImplementedError

    def piece(self, text: str, finish_reason: str | None, refusal: str | None = None) -> dict[str, Any]:
        """The one choice of a chunk."""
        raise NotImplementedError

    def whole(self, text: str, done: DoneEvent) -> dict[str, Any]:
        """The answer at once."""
        self._add(text)
        _, refusal = self._end(done)
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
            text = self._add(event.text)
            return [self._chunk(text)] if text and not self.holds_back else []
        if isinstance(event, (QueryEvent, PassagesEvent)):
            return [self._chunk("", event=event.to_dict())]
        return self._last_chunks(event) if isinstance(event, DoneEvent) else []

    def _last_chunks(self, done: DoneEvent) -> list[dict[str, Any]]:
        rest, refusal = self._end(done)
        rest = self._content if self.holds_back else rest
        chunks = [self._chunk(rest)] if rest else []
        last = self._chunk("", FINISH_REASONS[done.stop_reason], refusal)
        chunks.append({**last, **_fields_of(done)})
        if self.body.stream_options is not None and self.body.stream_options.include_usage:
            chunks.append({**self._chunk(""), "choices": [], "usage": usage_of(done.usage)})
        return chunks

    def _add(self, text: str) -> str:
        """The part of a text that can be passed on."""
        text = self._trimmer.add(text)
        self._content += text
        return text

    def _end(self, done: DoneEvent) -> tuple[str, str | None]:
        """The rest of the content, and why there is none if the answer is withheld."""
        rest = self._trimmer.finish(done.stop_reason == "stopping_criteria")
        refusal = why_withheld(done.result) if self.holds_back else None
        self._content = self._content + rest if refusal is None else ""
        if refusal is None and self._answered is not None:
            self._answered(self._content, done)
        return rest, refusal

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
