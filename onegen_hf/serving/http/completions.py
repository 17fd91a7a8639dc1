"""`/v1/chat/completions` and `/v1/completions`, whole or as a stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ...generation.events import DoneEvent, PassagesEvent, QueryEvent, StreamEvent, TokenEvent
from ..refusals import Refusal
from .answering import Answering
from .errors import error_body
from .schemas import ChatBody, CompletionBody, GenerationBody
from .services import Services, services_of
from .stop_strings import StopTrimmer

FINISH_REASONS = {"eos": "stop", "stopping_criteria": "stop", "max_new_tokens": "length", "context_full": "length"}
OF_RESULT = ("answer", "answered", "confidence", "citations", "retrievals", "stop_reason", "retrieval_stopped")
"""Fields of the pipeline's result that stand beside OpenAI's."""

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat_completions(
    body: ChatBody,
    http_request: Request,
    services: Services = Depends(services_of),  # noqa: B008
) -> Response:
    """Answer a conversation. What was retrieved stands in `retrievals`, and in `event` of a stream's chunks."""
    shape = _Chat(services.model_name, body)
    return await _answer(shape, [message.plain() for message in body.messages], http_request, services)


@router.post("/v1/completions")
async def completions(
    body: CompletionBody,
    http_request: Request,
    services: Services = Depends(services_of),  # noqa: B008
) -> Response:
    """Answer a question. What was retrieved stands in `retrievals`, and in `event` of a stream's chunks."""
    return await _answer(_Completion(services.model_name, body), body.question(), http_request, services)


async def _answer(shape: _Shape, question: Any, http_request: Request, services: Services) -> Response:
    services.require_model(shape.body.model)
    client = http_request.scope["state"]["client"]
    endpoint = http_request.url.path
    try:
        answering = Answering(services.scheduler, shape.body.request(question, client))
        if not shape.body.stream:
            text, done = await answering.whole(http_request)
            services.metrics.count(endpoint, "ok")
            return JSONResponse(shape.whole(text, done))
        await answering.submit()
    except Exception as error:
        services.metrics.count(endpoint, getattr(error, "code", "internal_error"))
        raise
    return _EventStream(shape, answering, services, endpoint)


class _EventStream(StreamingResponse):
    """An answer as it comes; when the reader goes away, at whatever moment, the request is cancelled."""

    def __init__(self, shape: _Shape, answering: Answering, services: Services, endpoint: str) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(self._chunks(), media_type="text/event-stream", headers=headers)
        self.shape, self.answering, self.services, self.endpoint = shape, answering, services, endpoint
        self.outcome = "cancelled"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.answering.cancel()
            self.services.metrics.count(self.endpoint, self.outcome)

    async def _chunks(self) -> AsyncIterator[str]:
        try:
            async with aclosing(self.answering.events()) as events:
                for chunk in self.shape.first():
                    yield _sse(chunk)
                async for event in events:
                    for chunk in self.shape.chunks(event):
                        yield _sse(chunk)
            self.outcome = "ok"
            yield "data: [DONE]\n\n"
        except Refusal as refusal:
            self.outcome = refusal.code
            yield _sse(error_body(str(refusal), refusal.status, refusal.code))


def _sse(chunk: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


class _Shape:
    """The form in which one endpoint puts its answers."""

    prefix: str
    whole_object: str
    chunk_object: str

    def __init__(self, model_name: str, body: GenerationBody) -> None:
        self.body = body
        self.base = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model_name}
        stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
        self.trimmer = StopTrimmer(stops)

    def choice(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        """The one choice of a whole answer."""
        raise NotImplementedError

    def piece(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        """The one choice of a chunk."""
        raise NotImplementedError

    def whole(self, text: str, done: DoneEvent) -> dict[str, Any]:
        """The answer at once."""
        text = self.trimmer.add(text) + self.trimmer.finish(done.stop_reason == "stopping_criteria")
        return {
            **self.base,
            "object": self.whole_object,
            "choices": [self.choice(text, FINISH_REASONS[done.stop_reason])],
            "usage": usage_of(done.usage),
            **{name: done.result[name] for name in OF_RESULT},
        }

    def first(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        return []

    def chunks(self, event: StreamEvent) -> list[dict[str, Any]]:
        """What a stream says of an event."""
        if isinstance(event, TokenEvent):
            text = self.trimmer.add(event.text)
            return [self._chunk(text)] if text else []
        if isinstance(event, (QueryEvent, PassagesEvent)):
            return [self._chunk("", event=event.to_dict())]
        if isinstance(event, DoneEvent):
            rest = self.trimmer.finish(event.stop_reason == "stopping_criteria")
            last = {name: event.result[name] for name in OF_RESULT}
            chunks = [self._chunk(rest)] if rest else []
            chunks.append(self._chunk("", FINISH_REASONS[event.stop_reason], **last))
            if self.body.stream_options is not None and self.body.stream_options.include_usage:
                chunks.append({**self._chunk(""), "choices": [], "usage": usage_of(event.usage)})
            return chunks
        return []

    def _chunk(self, text: str, finish_reason: str | None = None, **others: Any) -> dict[str, Any]:
        return {**self.base, "object": self.chunk_object, "choices": [self.piece(text, finish_reason)], **others}


class _Chat(_Shape):
    prefix, whole_object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}

    def piece(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        delta = {"content": text} if text else {}
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}

    def first(self) -> list[dict[str, Any]]:
        chunk = self._chunk("")
        chunk["choices"][0]["delta"] = {"role": "assistant", "content": ""}
        return [chunk]


class _Completion(_Shape):
    prefix, whole_object, chunk_object = "cmpl", "text_completion", "text_completion"

    def choice(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}

    piece = choice


def usage_of(usage: Mapping[str, int]) -> dict[str, int]:
    """OpenAI's counts, and ours: retrieved tokens are neither prompt nor completion."""
    prompt, generated = usage["prompt_tokens"], usage["generated_tokens"]
    return {**usage, "prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
