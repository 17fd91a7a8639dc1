"""`/v1/chat/completions` and `/v1/completions`, whole or as a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ...generation.events import DoneEvent
from ...pipelines.results import inserted_retrievals
from ..refusals import Refusal
from .answering import Answering
from .errors import error_body
from .schemas import ChatBody, CompletionBody, GenerationBody
from .services import Services, services_of
from .shapes import ChatShape, CompletionShape, Shape

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat_completions(
    body: ChatBody,
    http_request: Request,
    services: Services = Depends(services_of),  # noqa: B008
) -> Response:
    """Answer a conversation. What was retrieved stands in `retrievals`, and in `event` of a stream's chunks."""
    client = http_request.scope["state"]["client"]
    messages = services.turns.recall(client, [message.plain() for message in body.messages])

    def remember(content: str, done: DoneEvent) -> None:
        services.turns.remember(client, messages, content, inserted_retrievals(done.result))

    return await _answer(ChatShape, body, messages, http_request, services, remember)


@router.post("/v1/completions")
async def completions(
    body: CompletionBody,
    http_request: Request,
    services: Services = Depends(services_of),  # noqa: B008
) -> Response:
    """Answer a question. What was retrieved stands in `retrievals`, and in `event` of a stream's chunks."""
    return await _answer(CompletionShape, body, body.question(), http_request, services)


async def _answer(
    shape_class: type[Shape],
    body: GenerationBody,
    question: Any,
    http_request: Request,
    services: Services,
    answered: Callable[[str, DoneEvent], None] | None = None,
) -> Response:
    services.require_model(body.model)
    client = http_request.scope["state"]["client"]
    endpoint = http_request.url.path
    try:
        request = body.request(question, client)
        describer = services.scheduler.engine.describer.with_answer_threshold(request.answer_threshold)
        chooses = request.critique is not None
        shape = shape_class(services.model_name, body, chooses, describer.answer_threshold, answered)
        answering = Answering(services.scheduler, request)
        if not body.stream:
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

    def __init__(self, shape: Shape, answering: Answering, services: Services, endpoint: str) -> None:
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
