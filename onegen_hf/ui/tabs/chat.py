"""A conversation: each turn may retrieve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from ..streams import MODEL, traces
from ..trace import Trace

Messages = list[dict[str, Any]]


def chat_tab(rag: Any, questions: Sequence[str] = ()) -> None:
    """
    Args:
        rag ([`OneGenRagPipeline`])
        questions (`Sequence[str]`, *optional*): Examples.
    """

    def reply(message: str, shown: Messages) -> Iterator[tuple[str, Messages]]:
        shown = [*shown, {"role": "user", "content": message}]
        for trace in traces(rag, conversation(shown)):
            yield "", [*shown, *turn(trace)]

    chat = gr.Chatbot(label="Conversation", height=480, elem_id="chat", buttons=["copy"])
    message = gr.Textbox(label="Message", placeholder="Who directed Titanic?", elem_id="chat-message")
    with gr.Row():
        send = gr.Button("Send", variant="primary", elem_id="chat-send")
        stop = gr.Button("Stop")
        clear = gr.Button("New conversation")
    if questions:
        gr.Examples([[text] for text in questions], message, label="Messages to try")
    running = gr.on(
        [send.click, message.submit], reply, [message, chat], [message, chat], show_progress="hidden", **MODEL
    )
    stop.click(None, cancels=running)
    clear.click(lambda: ("", []), None, [message, chat], cancels=running)


def conversation(shown: Messages) -> Messages:
    """What the model reads of a conversation: the messages, without the passages shown between them."""
    turns = [turn for turn in shown if not (turn.get("metadata") or {}).get("title")]
    return [{"role": turn["role"], "content": _text(turn["content"])} for turn in turns]


def turn(trace: Trace) -> Messages:
    """An answer as messages: each retrieval folded, then the answer, or what has been written so far."""
    messages: Messages = []
    for hop in trace.hops:
        passages = "\n\n".join(
            f"**{_plain(passage['title'] or passage['id'])}** ({passage['score']:.3f})  \n{_plain(passage['text'])}"
            for passage in hop.passages or ()
        )
        title = f"Retrieved: {hop.query}" if hop.passages is not None else f"Searching: {hop.query}"
        messages.append({"role": "assistant", "content": passages or "…", "metadata": {"title": _plain(title)}})
    if trace.answer is None:
        written = trace.pieces[-1].strip()
    else:
        written = trace.answer.answer if trace.answer.answered else "".join(trace.pieces).strip()
    return [*messages, {"role": "assistant", "content": _plain(written) or "…"}]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]()#+-.!|<>~$&" else character for character in text)


def _text(content: Any) -> str:
    """The text of a message, which Gradio may hand back in parts."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if isinstance(part, dict) and part.get("type") == "text")
