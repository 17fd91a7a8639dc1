"""A record of `db.jsonl` and the document it becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from data_builders.documents import Document
from data_builders.errors import RecordError
from data_builders.paper.difference import difference, restore
from data_builders.paper.references import document_id, document_uid

DOCUMENT_TOKENS = ("[RD]", "[SE]", "[Document Fragment Representation]")
"""Those of the paper and of its published models."""
DEFAULT_TITLE_TEMPLATE = "wiki title: {title}\ncontent: {text}"
"""How the first sentence of a multi-hop document begins."""
_TEXT_FIELDS = ("sentences", "content", "text")
_MARK = re.compile(r"\[[^\[\]]+\]|<[^<>]+>")

Layout = dict[str, Any]
"""What it takes beyond the document to write its record again; JSON."""


def read_document(
    record: Mapping[str, Any],
    *,
    title_template: str = DEFAULT_TITLE_TEMPLATE,
    document_tokens: Sequence[str] = DOCUMENT_TOKENS,
) -> tuple[Document, Layout]:
    """
    Turn a record of `db.jsonl` into a document.

    The published layout is a conversation: the user's messages are the sentences, and each is followed by an
    assistant's message that holds the document token. Other conversations are joined and cut after every document
    token of the assistant. `sentences` (a list), `content` and `text` are read too.

    Sentences stay as they are, white space included. Where the first fits `title_template`, the title is taken out.

    Args:
        record (`Mapping[str, Any]`): `uid` (or `id`), and `messages` or the text.
        title_template (`str`, *optional*): Holds `{title}` and then `{text}`. Empty: titles stay in the text.
        document_tokens (`Sequence[str]`, *optional*): What ends a sentence in other conversations.

    Returns:
        `tuple[Document, Layout]`: The document, and what [`write_document`] needs to write the record again.

    Raises:
        `RecordError`: If the uid or the text is missing or has another form.
    """
    uid = record.get("uid", record.get("id"))
    if isinstance(uid, bool) or not isinstance(uid, (str, int)):
        raise RecordError("malformed_document", f"a record of db.jsonl needs a `uid` (text or number), got {uid!r}.")
    sentences: Any
    layout: Layout = {"number": True} if isinstance(uid, int) else {}
    if "messages" in record:
        sentences, token = _sentences(check_messages(record["messages"], str(uid)), document_tokens)
        layout["token"] = token
    else:
        name = next((name for name in _TEXT_FIELDS if record.get(name) is not None), None)
        value = record.get(name) if name else None
        sentences = [value] if isinstance(value, str) else value
        layout["field"] = name
    if not isinstance(sentences, list) or not sentences or not all(isinstance(text, str) for text in sentences):
        raise RecordError("malformed_document", f"the record of db.jsonl with uid {uid!r} holds no text.")
    title = record["title"] if isinstance(record.get("title"), str) else ""
    if not title and (titled := _split_title(sentences[0], title_template)):
        title, first = titled
        sentences = [first, *sentences[1:]]
        layout["title_template"] = title_template
    document = Document(document_id(str(uid)), title, tuple(sentences))
    if kept := difference(record, write_document(document, layout)):
        layout["difference"] = kept
    return document, layout


def write_document(document: Document, layout: Mapping[str, Any]) -> dict[str, Any]:
    """
    Turn a document into a record of `db.jsonl`.

    Args:
        document (`Document`): The document.
        layout (`Mapping[str, Any]`): From [`read_document`]; for documents of another source [`foreign_layout`].

    Returns:
        `dict[str, Any]`: The record.
    """
    uid = document_uid(document.id)
    is_number = layout.get("number") and uid.removeprefix("-").isdecimal()
    record: dict[str, Any] = {"uid": int(uid) if is_number else uid}
    sentences = list(document.sentences) or [""]
    if template := layout.get("title_template"):
        before, between, after = _template_parts(template)
        sentences[0] = f"{before}{document.title}{between}{sentences[0]}{after}"
    if "token" in layout:
        turn = {"role": "assistant", "content": layout["token"]}
        record["messages"] = [m for text in sentences for m in ({"role": "user", "content": text}, dict(turn))]
    else:
        record[layout["field"]] = sentences if layout["field"] == "sentences" else " ".join(sentences)
    return restore(record, layout.get("difference", {}))


def foreign_layout(document: Document, token: str) -> Layout:
    """The published layout, for a document that did not come from the paper's files."""
    return {"token": token, **({"title_template": DEFAULT_TITLE_TEMPLATE} if document.title else {})}


def check_messages(messages: Any, uid: str) -> list[dict[str, Any]]:
    """
    Make sure that `messages` is a conversation.

    Raises:
        `RecordError`: If it isn't.
    """
    if isinstance(messages, list) and messages and all(_is_message(message) for message in messages):
        return messages
    raise RecordError(
        "malformed_field", f"`messages` of the record with uid {uid!r} must be a list of {{role, content}}, both text."
    )


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))


def _sentences(messages: list[dict[str, Any]], document_tokens: Sequence[str]) -> tuple[list[str], str]:
    roles = [message["role"] for message in messages]
    turns = {message["content"] for message in messages[1::2]}
    if len(turns) == 1 and roles == ["user", "assistant"] * (len(roles) // 2):
        turn = turns.pop()
        if turn.strip() in document_tokens or _MARK.fullmatch(turn.strip()):
            return [message["content"] for message in messages[::2]], turn
    spoken = "".join(message["content"] for message in messages if message["role"] == "assistant")
    token = next((token for token in document_tokens if token in spoken), document_tokens[0])
    sentences = [""]
    for message in messages:
        # The user's text may name the token without meaning it.
        first, *others = message["content"].split(token) if message["role"] == "assistant" else [message["content"]]
        sentences[-1] += first
        sentences += others
    return (sentences if sentences[-1].strip() or len(sentences) == 1 else sentences[:-1]), token


def _split_title(sentence: str, template: str) -> tuple[str, str] | None:
    if not template:
        return None
    before, between, after = _template_parts(template)
    title, found, rest = sentence.removeprefix(before).partition(between)
    if not sentence.startswith(before) or not found or not title or not rest.endswith(after):
        return None
    return title, rest.removesuffix(after)


def _template_parts(template: str) -> tuple[str, str, str]:
    before, _, rest = template.partition("{title}")
    between, _, after = rest.partition("{text}")
    return before, between, after
