"""`onegen-hf ui`: a page in the browser to ask, chat, compare, browse and link."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..checks import checked_fields, flag, integer, optional, source, text
from ..importing.extras import require
from ..terminal.options import OptionParser
from .model_arguments import INDEX, ModelArguments
from .rules import require_free_port

TEXTS = (
    "James Cameron directed Titanic and Avatar. He was born in Kapuskasing.",
    "Toni Morrison wrote Beloved, and James Joyce wrote Ulysses in Paris.",
)


@dataclass(kw_only=True)
class UiArguments(ModelArguments):
    """Options of `onegen-hf ui`."""

    index: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository of the index; default: the model's own."}
    )
    linker: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository of the entity linker; default: the bundled one."}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on; 0.0.0.0 lets others in."})
    port: int = field(default=7860, metadata={"help": "Port to listen on; 0 takes a free one."})
    browser: bool = field(default=False, metadata={"help": "Open the page in a browser."})

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(
            self,
            index=INDEX,
            linker=optional(source()),
            host=text(),
            port=integer(least=0, most=65535),
            browser=flag(),
        )

    def load(self) -> Any:
        """The app."""
        from transformers import pipeline

        from ..serving.own_thread import in_own_thread
        from ..ui import build_app

        place = {"dtype": self.dtype, **self.place()}
        rag = in_own_thread(
            lambda: pipeline("onegen-rag", model=self.model, index=self.index, preset=self.preset, **place)
        )
        questions: tuple[str, ...] = ()
        if self.model is None and self.index is None:
            from .demo import demo_questions

            questions = tuple(demo_questions()[1::3][:4])
        return build_app(rag, self.load_linker, questions, () if self.linker else TEXTS)

    def load_linker(self) -> Any:
        """The pipeline that links entities."""
        from transformers import pipeline

        from ..serving.own_thread import in_own_thread

        place = {"dtype": self.dtype, **self.place()}
        return in_own_thread(lambda: pipeline("onegen-entity-linking", model=self.linker, **place))


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        UiArguments, "onegen-hf ui", description="Open a page to ask, chat, compare, browse and link in a browser."
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command, until it is interrupted."""
    (options,) = parser().parse(arguments)
    require_free_port(options.host, options.port)
    require("gradio", extra="ui", purpose="onegen-hf ui")
    app = options.load()
    from ..ui import launch_options

    if options.port == 0:
        os.environ.pop("GRADIO_SERVER_PORT", None)
    app.queue().launch(
        server_name=options.host,
        server_port=options.port or None,
        inbrowser=options.browser,
        prevent_thread_lock=True,
        quiet=True,
        **launch_options(),
    )
    print(f"The page is at {app.local_url} (Ctrl-C stops it)", flush=True)
    app.block_thread()
