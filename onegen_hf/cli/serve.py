"""`onegen-hf serve`: answers the requests of many clients over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..checks import checked_fields, choice, flag, integer, list_of, number, optional, source, text
from ..importing.extras import require
from ..serving.limits import ServingLimits
from ..terminal.options import OptionParser
from .model_arguments import INDEX, ModelArguments
from .rules import require_free_port

PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
ENGINES = ("transformers", "vllm")
ONLY_TRANSFORMERS = ("preset", "linker", "int8")
"""Options that vLLM has no use for."""


@dataclass(kw_only=True)
class ServeArguments(ModelArguments):
    """Options of `onegen-hf serve`, besides [`ServingLimits`]."""

    index: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository of the index; default: the model's own."}
    )
    engine: str = field(default="transformers", metadata={"help": "What decodes.", "choices": list(ENGINES)})
    served_name: str | None = field(
        default=None, metadata={"help": "What clients call the model; default: the last part of its name."}
    )
    linker: str | None = field(
        default=None,
        metadata={"help": "Directory or Hub repository of a model that links entities, for /v1/link; builtin: ours."},
    )
    linker_index: str | None = field(
        default=None, metadata={"help": "Directory or repository of its catalogue; default: the model's own."}
    )
    int8: bool = field(default=False, metadata={"help": "Quantize the linear layers to int8: faster on a CPU."})
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen at; 0.0.0.0 for all."})
    port: int = field(default=8000, metadata={"help": "Port to listen at; 0 takes a free one."})
    cors_origins: list[str] = field(
        default_factory=list, metadata={"help": "Origins of web pages whose scripts may ask; default: none."}
    )
    max_body_bytes: int = field(default=1 << 20, metadata={"help": "Size of the largest request."})
    shutdown_seconds: float | None = field(
        default=None, metadata={"help": "How long SIGTERM waits for running requests; default: to their end."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(
            self,
            index=INDEX,
            engine=choice(ENGINES),
            served_name=optional(text()),
            linker=optional(source()),
            linker_index=optional(source()),
            int8=flag(),
            host=text(),
            port=integer(least=0, most=65535),
            cors_origins=list_of(text(), empty=True),
            max_body_bytes=integer(least=1),
            shutdown_seconds=optional(number(above=0)),
        )
        if self.linker_index is not None and self.linker is None:
            raise ValueError(f"linker_index={self.linker_index!r} is for a linker: name it with --linker")
        if self.engine == "vllm":
            if self.model is None:
                raise ValueError("engine='vllm' needs a directory with a plain checkpoint: name it with --model")
            for name in ONLY_TRANSFORMERS:
                if getattr(self, name):
                    raise ValueError(f"{name}={getattr(self, name)!r} is for --engine transformers: leave it out")


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        [ServeArguments, ServingLimits], "onegen-hf serve", description="Answer requests over HTTP, as OpenAI's API."
    )


def main(arguments: Sequence[str]) -> None:
    """
    Run the command: `onegen-hf serve --port 8000`.

    Keys that clients must send come from the environment variable `ONEGEN_API_KEYS`, separated by commas.
    """
    options, limits = parser().parse(arguments)
    require_free_port(options.host, options.port)
    for package in PACKAGES:
        require(package, extra="serve", purpose="onegen-hf serve")
    from ..serving.http import create_app
    from ..serving.http.guards import keys_from_environment
    from ..serving.own_thread import in_own_thread
    from ..serving.server import serve

    services = in_own_thread(load_services, options, limits)
    app = create_app(
        services, keys_from_environment(), options.cors_origins, options.max_body_bytes, options.shutdown_seconds
    )
    serve(app, services.scheduler, options.host, options.port, options.shutdown_seconds)


def load_services(options: ServeArguments, limits: ServingLimits) -> Any:
    """Load the models and what stands around them."""
    from ..serving.http import Services
    from ..serving.metrics import ServingMetrics
    from ..serving.scheduler import Scheduler

    name = options.served_name or _short(options.model) or "onegen"
    metrics = ServingMetrics()
    if options.engine == "vllm":
        from ..serving.engines import VllmServingEngine

        checkpoint = options.checkpoint()
        vllm_engine = VllmServingEngine(checkpoint, limits, name, options.index, options.dtype)
        return Services(Scheduler(vllm_engine, limits, metrics), metrics, name)
    from transformers import pipeline

    from ..serving.embedding import Embedder
    from ..serving.engines import TransformersServingEngine

    shared = {"dtype": options.dtype, **options.place()}
    rag = pipeline("onegen-rag", model=options.model, index=options.index, preset=options.preset, **shared)
    if options.int8:
        from ..modeling.int8 import quantize_for_cpu

        rag.model = quantize_for_cpu(rag.model)
    linker = None
    if options.linker is not None:
        named = None if options.linker == "builtin" else options.linker
        linker = pipeline("onegen-entity-linking", model=named, index=options.linker_index, **shared)
    engine = TransformersServingEngine(rag, limits, name)
    embedder = Embedder(rag.model, rag.tokenizer)
    return Services(Scheduler(engine, limits, metrics), metrics, name, embedder, linker, _short(options.linker))


def _short(source: str | None) -> str | None:
    """The last part of a directory or repository."""
    return None if source is None else source.rstrip("/").rpartition("/")[2]
