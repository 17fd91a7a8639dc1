"""`build_app`: all tabs as one Gradio app, for a browser on this machine and for a Space."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from ..importing.extras import require

require("gradio", extra="ui", purpose="The user interface")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr  # noqa: E402

from .tabs.ask import ask_tab  # noqa: E402
from .tabs.browse import browse_tab  # noqa: E402
from .tabs.chat import chat_tab  # noqa: E402
from .tabs.compare import compare_tab  # noqa: E402
from .tabs.link import link_tab  # noqa: E402
from .tabs.own_texts import own_texts_tab  # noqa: E402

TITLE = "OneGen: one model generates and retrieves"
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONOSPACE_FONTS = ("ui-monospace", "Consolas", "monospace")


def build_app(
    rag: Any,
    load_linker: Callable[[], Any] | None = None,
    questions: tuple[str, ...] = (),
    texts: tuple[str, ...] = (),
) -> gr.Blocks:
    """
    The user interface of a model.

    Args:
        rag ([`OneGenRagPipeline`])
        load_linker (`Callable`, *optional*): Returns an [`OneGenEntityLinkingPipeline`]; called when the first text is
            linked. Without one there is no tab for it.
        questions (`tuple[str, ...]`, *optional*): Examples to ask.
        texts (`tuple[str, ...]`, *optional*): Examples to link.

    Returns:
        `gradio.Blocks`: Start it with `app.launch(**launch_options())`.

    Raises:
        `ImportError`: If Gradio is not installed.

    Example:

    ```python
    >>> app = build_app(pipeline("onegen-rag"), questions=("Where was the director of Titanic born?",))
    >>> app.launch(**launch_options())
    ```
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False) as app:
        gr.HTML(
            f"<h1>{TITLE.partition(':')[0]}</h1><p>One language model writes the answer, asks for passages while it "
            "writes, and its own hidden state finds them.</p>",
            elem_classes="onegen-head",
        )
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("Ask"):
                ask_tab(rag, questions)
            with gr.Tab("Chat"):
                chat_tab(rag, questions)
            with gr.Tab("Compare"):
                compare_tab(rag, questions)
            with gr.Tab("Passages"):
                browse_tab(rag.index, rag.model, rag.tokenizer)
            with gr.Tab("Your texts"):
                own_texts_tab(rag)
            if load_linker is not None:
                with gr.Tab("Entities"):
                    link_tab(load_linker, texts)
    return app


def launch_options() -> dict[str, Any]:
    """Arguments of `launch` that belong to the app: its looks, without anything from other hosts."""
    return {
        "theme": gr.themes.Default(primary_hue="indigo", font=_FONTS, font_mono=_MONOSPACE_FONTS),
        "css": files(__package__).joinpath("style.css").read_text(encoding="utf-8"),
        "footer_links": ["settings"],
        "ssr_mode": False,
        "run_history": False,
        "show_error": True,
        "max_file_size": "20mb",
    }
