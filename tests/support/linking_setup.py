"""A tiny entity linker, and a processor that makes it mark as many mentions as a test wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from onegen_hf import RetrievalTokens
from onegen_hf.linking import LinkingDecoder, LinkingOutput, MentionMarkup
from support.tiny_models import tiny_model

INSTRUCTION = "Mark the entities."
ENTITIES: list[dict[str, Any]] = [
    {"id": "Q1", "title": "Ada Moll", "text": "Ada Moll makes films."},
    {"id": "Q2", "title": "Fern Bay", "text": "Fern Bay is a town by the sea."},
    {"id": "Q3", "title": "Ben Oak", "text": "Ben Oak paints."},
    {"id": "Q4", "title": "Elm Hill", "text": "Elm Hill is a town in the north."},
]


class MarkMentions(LogitsProcessor):
    """Opens a mention wherever one may be opened until there are `count`, and closes each at the first chance."""

    def __init__(self, markup: MentionMarkup, count: int) -> None:
        self.markup, self.count = markup, count
        # A space that stands alone leads to an opening tag.
        self.space = markup.tokenizer.convert_tokens_to_ids("\u0120")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        opened = int((input_ids == self.markup.open).sum())
        scores[:, [self.markup.open, self.space]] = 1e4 if opened < self.count else -1e4
        scores[:, self.markup.close] = 1e4
        return scores


class WriteIds(LogitsProcessor):
    """Makes a model write given ids behind its prompt, whatever it is."""

    def __init__(self, ids: list[int], prompt_length: int) -> None:
        self.ids, self.prompt_length = ids, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = torch.full_like(scores, -torch.inf)
        scores[:, self.ids[input_ids.shape[1] - self.prompt_length]] = 0.0
        return scores


@dataclass
class LinkingSetup:
    """A random model with the tokens of entity linking."""

    model: Any
    tokenizer: Any

    @property
    def markup(self) -> MentionMarkup:
        return MentionMarkup(self.tokenizer, self.model.onegen_config)

    def generate(self, texts: list[str], mentions: int | None = None, **options: Any) -> LinkingOutput:
        """Copy texts as one batch."""
        markup = self.markup
        prompts = [markup.prompt(text, INSTRUCTION) for text in texts]
        width = max(map(len, prompts))
        processors = options.pop("logits_processor", None)
        if mentions is not None:
            processors = [MarkMentions(markup, mentions)]
        settings = {"max_new_tokens": 400, "do_sample": False, **options}
        names = ("boundaries", "decoding", "feed_forced_together", "opening_bias", "draft_tokens", "until")
        decoder_options = {name: settings.pop(name) for name in names if name in settings}
        return self.model.generate(
            input_ids=torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts]),
            attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]),
            custom_generate=LinkingDecoder(markup, texts, **decoder_options),
            logits_processor=LogitsProcessorList(processors or []),
            return_dict_in_generate=True,
            **settings,
        )


def linking_setup(tokenizer: Any, architecture: str = "llama_tied") -> LinkingSetup:
    """`tokenizer` receives the tokens."""
    tokenizer.padding_side = "left"
    return LinkingSetup(tiny_model(tokenizer, architecture, RetrievalTokens.entity_linking()), tokenizer)
