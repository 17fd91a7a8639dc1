"""`/v1/embeddings`, `/v1/retrieve` and `/v1/link`."""

from __future__ import annotations

import base64
import struct
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Depends, Request

from ...generation.events import PassagesEvent
from ..request import GenerationRequest
from .answering import Answering
from .errors import ApiError
from .schemas import EmbeddingBody, LinkBody, RetrieveBody
from .services import Services, services_of
from .shapes import usage_of

router = APIRouter()


@router.post("/v1/embeddings")
async def embeddings(body: EmbeddingBody, services: Services = Depends(services_of)) -> dict[str, Any]:  # noqa: B008
    """Unit vectors of texts, as queries or as passages."""
    services.require_model(body.model)
    embedder = services.embedder
    if embedder is None:
        raise ApiError("this engine gives no embeddings of texts", 501, "not_supported")
    if body.dimensions not in (None, embedder.dimension):
        raise ApiError(
            f"dimensions={body.dimensions} must be {embedder.dimension}, or left out", code="unsupported_parameter",
            param="dimensions",
        )  # fmt: skip
    with counted(services, "/v1/embeddings"):
        vectors, tokens = await services.alone(lambda: embedder.embed(body.input, body.role))
    encode = _base64 if body.encoding_format == "base64" else list
    data = [{"object": "embedding", "index": n, "embedding": encode(vector)} for n, vector in enumerate(vectors)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": services.model_name, "data": data, "usage": usage}


@router.post("/v1/retrieve")
async def retrieve(
    body: RetrieveBody,
    http_request: Request,
    services: Services = Depends(services_of),  # noqa: B008
) -> dict[str, Any]:
    """The passages for a question. The model writes what it asks for first, and nothing more."""
    services.require_model(body.model)
    client = http_request.scope["state"]["client"]
    question: Any = body.question
    if not isinstance(question, str):
        question = services.turns.recall(client, [turn.plain() for turn in question])
    with counted(services, "/v1/retrieve"):
        try:
            request = GenerationRequest(
                question,
                max_new_tokens=body.max_tokens,
                k=body.k,
                max_hops=1,
                retrieval="always",
                readings=1,
                filter=body.filter,
                client=client,
            )
        except (TypeError, ValueError) as error:
            raise ApiError(str(error)) from error
        answering = Answering(services.scheduler, request)
        await answering.submit()
        return await answering.while_wanted(_first_passages(answering), http_request)


async def _first_passages(answering: Answering) -> dict[str, Any]:
    async with aclosing(answering.events()) as events:
        async for event in events:
            if isinstance(event, PassagesEvent):
                return {"query": event.query, "passages": event.to_dict()["passages"]}
    return {"query": "", "passages": []}


@router.post("/v1/link")
async def link(body: LinkBody, services: Services = Depends(services_of)) -> dict[str, Any]:  # noqa: B008
    """The entities that a text mentions."""
    if services.linker is None:
        raise ApiError("the server was started without a linking model", 501, "not_supported")
    services.require_model(body.model, linking=True)
    inputs: Any = {"text": body.text} if body.spans is None else {"text": body.text, "spans": body.spans}
    options = {"top_k": body.top_k, "threshold": body.threshold, "return_dict": True}
    with counted(services, "/v1/link"):
        result = await services.alone(lambda: services.linker(inputs, **options))
    return {"model": services.linker_name, "mentions": result["mentions"], "usage": usage_of(result["usage"])}


class counted:
    """Counts a request by its outcome; bad values become an [`ApiError`]."""

    def __init__(self, services: Services, endpoint: str) -> None:
        self.services, self.endpoint = services, endpoint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        refused = ApiError(str(error)) if isinstance(error, (TypeError, ValueError)) else error
        outcome = "ok" if refused is None else getattr(refused, "code", "internal_error")
        self.services.metrics.count(self.endpoint, outcome)
        if refused is not error:
            assert refused is not None
            raise refused from error


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
