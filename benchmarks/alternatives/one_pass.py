"""One pass: what this package does."""

from __future__ import annotations

from typing import Any

from onegen_hf.evaluation.gold_decoder import GoldPassageDecoder
from onegen_hf.generation import OnePassDecoder
from onegen_hf.index.retriever import Retriever

from .components import Components
from .task import Task, left_padded


class OnePass:
    """The query embedding is the hidden state of the step that feeds the query token; everything is read once."""

    def __init__(self, components: Components) -> None:
        self.model, self.tokenizer = components.model, components.tokenizer
        self.index: Retriever = components.index

    def __call__(self, task: Task) -> list[list[int]]:
        """See [`Alternative`]."""
        passages = [] if task.script is None else task.script.passages
        decoder = self.decoder(
            index=self.index,
            tokenizer=self.tokenizer,
            config=self.model.onegen_config,
            max_hops=task.max_hops,
            gold=[[[passage.id] for passage in passages]] * len(task.prompts),
            passages_by_id={passage.id: passage for passage in passages},
        )
        output = self.model.generate(
            **left_padded(task.prompts, self.model.device),
            **task.generate_options,
            max_new_tokens=task.max_new_tokens,
            custom_generate=decoder,
        )
        return [row.ids[row.usage.prompt_tokens :] for row in output.rows]

    def decoder(self, **options: Any) -> OnePassDecoder:
        """The decoding loop; without a script, the gold passages that it inserts are none."""
        return GoldPassageDecoder(**options)
