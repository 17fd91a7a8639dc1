"""`onegen-hf mcp`: search, answers and entity links as tools of the Model Context Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..checks import checked_fields, optional, source
from ..importing.extras import require
from ..terminal.options import OptionParser
from .model_arguments import INDEX, ModelArguments


@dataclass(kw_only=True)
class McpArguments(ModelArguments):
    """Options of `onegen-hf mcp`."""

    index: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository of the index; default: the model's own."}
    )
    linker: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository of the entity linker; default: the bundled one."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(self, index=INDEX, linker=optional(source()))

    def load_rag(self) -> Any:
        """The pipeline that answers, with an index that can search for a text."""
        from transformers import pipeline

        return pipeline(
            "onegen-rag", model=self.model, index=self.index, preset=self.preset, dtype=self.dtype, **self.place()
        )

    def load_linker(self) -> Any:
        """The pipeline that links entities."""
        from transformers import pipeline

        return pipeline("onegen-entity-linking", model=self.linker, dtype=self.dtype, **self.place())


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        McpArguments,
        "onegen-hf mcp",
        description="Offer the tools search, ask and link over standard input and output (Model Context Protocol).",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command, until its input ends. Clients start it: `{"command": "onegen-hf", "args": ["mcp"]}`."""
    (options,) = parser().parse(arguments)
    require("mcp", extra="mcp", purpose="onegen-hf mcp")
    from ..integrations.mcp import create_server

    create_server(options.load_rag, options.load_linker).run()
