"""A conversation: each turn may retrieve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from ..chat_messages import Messages, asked, heard, turn
from ..streams import MODEL, traces


def chat_tab(rag: Any, questions: Sequence[str] = ()) -> None:
    """
    Args:
        rag ([`OneGenRagPipeline`])
        questions (`Sequence[str]`, *optional*): Examples.
    """

    def reply(message: str, shown: Messages, chat: Messages) -> Iterator[tuple[str, Messages, Messages]]:
        shown, chat = [*shown, asked(message)], [*chat, {"role": "user", "content": message}]
        for trace in traces(rag, chat):
            yield "", [*shown, *turn(trace)], [*chat, heard(trace)]

    turns = gr.State([])  # what the model reads; the page shows answers, and retrievals in their own messages
    chat = gr.Chatbot(label="Conversation", height=480, elem_id="chat", buttons=["copy"], render_markdown=False)
    message = gr.Textbox(label="Message", placeholder="Who directed Titanic?", elem_id="chat-message")
    with gr.Row():
        send = gr.Button("Send", variant="primary", elem_id="chat-send")
        stop = gr.Button("Stop", min_width=100, scale=0)
        clear = gr.Button("New chat", min_width=120, scale=0)
    if questions:
        gr.Examples([[text] for text in questions], message, label="Messages to try")
    running = gr.on(
        [send.click, message.submit],
        reply,
        [message, chat, turns],
        [message, chat, turns],
        show_progress="hidden",
        **MODEL,
    )
    stop.click(None, cancels=running)
    clear.click(lambda: ("", [], []), None, [message, chat, turns], cancels=running)
