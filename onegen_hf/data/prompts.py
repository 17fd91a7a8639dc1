"""`prompt_ids`: a question, or a chat, as the token ids in front of the model's answer."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ..configuration import OneGenConfig
from .chat_rendering import Segment, render_chat, render_messages, render_question
from .earlier_retrievals import pieces
from .messages import Message
from .passages import PassageEncoder
from .sentence_selection import shortened
from .text_tokenizer import TextTokenizer


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, config: OneGenConfig, question: str | Sequence[Message]
) -> list[int]:
    """
    Token ids in front of the assistant's answer, exactly as in training. No text of the question becomes a control
    token; the ids of a question that names none are those of the rendered prompt, tokenized as a whole.

    What was retrieved in earlier turns stays: an assistant's message with `retrievals`, as results hold them, is the
    text of its turn with the query tokens and the passages at their places, as the model wrote and read it then.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Must hold the retrieval tokens.
        config ([`OneGenConfig`])
        question (`str` or `Sequence[Mapping]`): A question, or a chat (messages with `role` and `content`, such as a
            system turn and several turns of user and assistant) that ends with a turn of the user. Messages of the
            assistant may have `retrievals`.

    Raises:
        `TypeError` or `ValueError`: If there is no question, a message is malformed, or the chat template refuses the
            conversation.

    Example:

    ```python
    >>> prompt_ids(tokenizer, model.onegen_config, "Who made Tin Boat?")
    >>> prompt_ids(tokenizer, model.onegen_config, [{"role": "system", "content": "Be brief."}, ...])
    ```
    """
    if isinstance(question, str) and not question.strip():
        raise ValueError(f"question={question!r} is empty: give some text")
    ids: list[int] = []
    for segment in render_chat(question, tokenizer, config):
        read = _answered_ids if segment.assistant else segment_ids
        ids += read(tokenizer, config, segment)
    return ids


def _answered_ids(tokenizer: PreTrainedTokenizerBase, config: OneGenConfig, segment: Segment) -> list[int]:
    """An earlier answer with what was retrieved in it, piece by piece as in decoding."""
    passages = PassageEncoder(tokenizer, config)
    ids: list[int] = []
    for text, retrieval in pieces(segment.text, segment.retrievals):
        ids += passages.text_ids(text)
        if retrieval is not None:
            read = shortened(retrieval.passages, retrieval.query, config.inserted_sentences)
            ids += [passages.ids.query, *passages.insertion(read)]
    return ids


def query_ids(
    tokenizer: PreTrainedTokenizerBase, config: OneGenConfig, query: str, template: str = "{query}"
) -> list[int]:
    """
    Token ids of a bare query, up to its query token. What stands in front of that token is what a single-hop training
    example has there: the prompt with the query as the user's question, then the query once more as the model's own
    first sub-question. No text of the query becomes a control token.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Must hold the retrieval tokens.
        config ([`OneGenConfig`])
        query (`str`)
        template (`str`, *optional*, defaults to `"{query}"`): The model's own text; for entity linking
            `"<MENTION>{query}</MENTION>"`.
    """
    asked = segment_ids(tokenizer, config, render_question(query, tokenizer, config))
    written, *more = template.split("{query}")
    spans = []
    for literal in more:
        spans.append((len(written), len(written) + len(query)))
        written += query + literal
    # Prompt and answer are tokenized one by one, as in training and in decoding.
    answer = TextTokenizer.of(tokenizer, config.tokens).mixed_ids(written, spans)
    return [*asked, *answer, config.tokens.ids(tokenizer).query]


def messages_ids(tokenizer: PreTrainedTokenizerBase, config: OneGenConfig, messages: Sequence[Message]) -> list[int]:
    """
    The same for messages that are whole prompts already, as those of a dataset are: they go into the chat template as
    they are, without `prompt_template`.
    """
    return segment_ids(tokenizer, config, render_messages(messages, tokenizer, config))


def segment_ids(tokenizer: PreTrainedTokenizerBase, config: OneGenConfig, segment: Segment) -> list[int]:
    """Ids of a rendered segment, whose texts of messages hold no control token."""
    return TextTokenizer.of(tokenizer, config.tokens).mixed_ids(segment.text, segment.spans)
