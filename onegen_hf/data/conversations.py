"""Messages → token ids, labels, roles and retrieval positions (paper section 3.1)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from ..checks import checked, instance, integer, optional
from ..configuration import OneGenConfig
from ..tokens import Role
from .chat_rendering import Message, Segment, render, split_assistant
from .passages import PassageEncoder
from .queries import decoded_texts
from .sentence_selection import shortened_text
from .targets import IGNORE_INDEX
from .text_tokenizer import TextTokenizer

logger = logging.getLogger(__name__)


@dataclass
class EncodedExample:
    """
    One conversation ready for training; all lists but `query_positions` have one entry per token.

    Attributes:
        input_ids (`list[int]`)
        labels (`list[int]`): The token's own id where it enters the language-model loss, else -100 (not shifted).
        roles (`list[Role]`)
        query_positions (`list[int]`): Positions of the query tokens, in order.
        num_queries (`int`): Query tokens before truncation; `len(query_positions)` are left.
    """

    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    roles: list[Role] = field(default_factory=list)
    query_positions: list[int] = field(default_factory=list)
    num_queries: int = 0

    def append(self, ids: Sequence[int], role: Role, labelled: bool) -> None:
        """Add tokens of one role; `labelled` says whether the model is trained to generate them."""
        labels = list(ids) if labelled else [IGNORE_INDEX] * len(ids)
        if labels and self.roles and self.roles[-1] is Role.RET:
            # The output of a retrieval token is its embedding, never a prediction (paper section 3.2).
            labels[0] = IGNORE_INDEX
        self.input_ids += ids
        self.labels += labels
        self.roles += [role] * len(ids)


@dataclass
class TruncationReport:
    """Counts what truncation has cut so far."""

    examples: int = 0
    truncated_examples: int = 0
    dropped_queries: int = 0
    truncated_paragraphs: int = 0

    def __str__(self) -> str:
        return (
            f"{self.truncated_examples} of {self.examples} examples were cut to max_length, which dropped "
            f"{self.dropped_queries} query tokens; {self.truncated_paragraphs} retrieved paragraphs were cut to "
            "max_inserted_tokens"
        )


class RoleEncoder:
    """
    Assigns every token of a conversation its role.

    | text | role | language-model label |
    |---|---|---|
    | prompt, template around the turns | CTX | no |
    | assistant's text | GEN | yes, but for the token after a retrieval token |
    | query token | RET | yes: the model must emit it |
    | continuation token | GEN | no: it is forced |
    | `<paragraph>` ... `</paragraph>` | CTX | no: it is inserted |
    | `<unlabelled>` ... `</unlabelled>` (the tags are not tokens) | CTX | no: it may be wrong |
    | end of turn | GEN | yes |

    Segments are tokenized one by one, as generation later feeds them, so training and inference see the same ids. With
    `inserted_sentences`, a paragraph keeps the sentences that decoding would insert for the query token before it.
    Only the chat template and the retrieval tokens of an answer become control tokens; the rest of the messages is
    text.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Must hold the retrieval tokens.
        config (`OneGenConfig`)
        max_length (`int`, *optional*): Rows are cut on the right to this many tokens; query tokens that are cut off
            are counted in `report`.
    """

    @checked(config=instance(OneGenConfig), max_length=optional(integer(least=2)))
    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, config: OneGenConfig, max_length: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.max_length = max_length
        self.passages = PassageEncoder(tokenizer, config)
        self.texts = TextTokenizer.of(tokenizer, config.tokens)
        self.report = TruncationReport()
        # Some chat models end a turn with a token of their own (<end_of_turn>, <|eot_id|>) and not with `eos_token`.
        added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        special = [name for name in {*tokenizer.all_special_tokens, *added} if name not in config.tokens.all]
        self._end_tokens = set(tokenizer.convert_tokens_to_ids(special)) - {tokenizer.bos_token_id}

    def encode(self, messages: Sequence[Message]) -> EncodedExample:
        """
        Encode one conversation.

        Raises:
            `ValueError`: For malformed messages (see [`render`] and [`split_assistant`] in `chat_rendering`).
        """
        encoded = EncodedExample()
        segments = render(messages, self.tokenizer, self.config)
        queries = decoded_texts(messages, self.config)
        after_turn = False
        for segment in segments:
            if segment.assistant:
                self._append_turn(encoded, segment.text, queries)
            else:
                self._append_around(encoded, segment, after_turn)
            after_turn = segment.assistant
        return self._truncate(encoded)

    def prompt(self, text: str) -> list[int]:
        """Ids of a rendered prompt, all of which is taken for the template's; see [`prompts.prompt_ids`]."""
        return self.texts.template_ids(text)

    def _append_turn(self, encoded: EncodedExample, content: str, queries: Sequence[str]) -> None:
        ids = self.passages.ids
        query = ""
        for kind, text in split_assistant(content, self.config):
            if kind == "query":
                query = queries[encoded.num_queries]
                encoded.query_positions.append(len(encoded.input_ids))
                encoded.append([ids.query], Role.RET, labelled=True)
                encoded.num_queries += 1
            elif kind == "continuation":
                assert ids.continuation is not None
                encoded.append([ids.continuation], Role.GEN, labelled=False)
            elif kind == "paragraph":
                read = shortened_text(text, query, self.config.inserted_sentences)
                paragraph, truncated = self.passages.paragraph(read)
                encoded.append(paragraph, Role.CTX, labelled=False)
                self.report.truncated_paragraphs += truncated
            elif kind == "unlabelled":
                encoded.append(self.texts.generated_ids(text), Role.CTX, labelled=False)
            else:
                encoded.append(self.texts.generated_ids(text), Role.GEN, labelled=True)

    def _append_around(self, encoded: EncodedExample, segment: Segment, after_turn: bool) -> None:
        tokens = self.texts.mixed_ids(segment.text, segment.spans)
        if after_turn:
            end_of_turn = next((n for n, token in enumerate(tokens) if token in self._end_tokens), None)
            if end_of_turn is None and self.tokenizer.eos_token_id is not None:
                tokens, end_of_turn = [self.tokenizer.eos_token_id, *tokens], 0
            if end_of_turn is not None:
                encoded.append(tokens[: end_of_turn + 1], Role.GEN, labelled=True)
                tokens = tokens[end_of_turn + 1 :]
        encoded.append(tokens, Role.CTX, labelled=False)

    def _truncate(self, encoded: EncodedExample) -> EncodedExample:
        self.report.examples += 1
        limit = self.max_length
        if limit is None or len(encoded.input_ids) <= limit:
            return encoded
        kept = [position for position in encoded.query_positions if position < limit]
        self.report.truncated_examples += 1
        self.report.dropped_queries += len(encoded.query_positions) - len(kept)
        if self.report.truncated_examples == 1:
            logger.warning(
                "An example has %d tokens, more than max_length=%d: it is cut, and with it %d of its %d query tokens. "
                "Further ones are counted in `report`.",
                len(encoded.input_ids), limit, len(encoded.query_positions) - len(kept), encoded.num_queries,
            )  # fmt: skip
        return EncodedExample(
            encoded.input_ids[:limit], encoded.labels[:limit], encoded.roles[:limit], kept, encoded.num_queries
        )
