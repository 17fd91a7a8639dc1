"""Re-reading: after each retrieval, the whole text goes through the model again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from onegen_hf.data.passages import PassageEncoder
from onegen_hf.generation.hidden_state_hook import recorded_states
from onegen_hf.index.retriever import Retriever
from onegen_hf.modeling.outputs import CACHE

from .components import Components
from .task import Task, left_padded


@dataclass(eq=False)
class Row:
    """
    A row while it runs.

    Args:
        prompt (`list[int]`)
        ids (`list[int]`): What follows it.
        generated (`int`): How many of `ids` the model chose.
    """

    prompt: list[int]
    ids: list[int] = field(default_factory=list)
    generated: int = 0


@dataclass
class Reading:
    """
    One call of `generate`.

    Args:
        attention_mask (`Tensor` of shape `(rows, length)`): Of the texts that were read.
        output: What `generate` returned.
        states (`list[Tensor]`): Last hidden states of each forward, the first one of the texts themselves, then one
            per generated token that was fed; each of shape `(rows, hidden)`.
    """

    attention_mask: Tensor
    output: Any
    states: list[Tensor]


class ReReading:
    """
    `generate` is called once per hop, on the prompt and all that followed: what one writes without a decoding loop of
    one's own. Within a call there is a cache, and the query embedding comes out of it; no cache outlives its call.
    """

    def __init__(self, components: Components) -> None:
        self.model, self.tokenizer = components.model, components.tokenizer
        self.index: Retriever = components.index
        self.passages = PassageEncoder(self.tokenizer, self.model.onegen_config)
        self.query_token = self.passages.ids.query
        end = self.model.generation_config.eos_token_id
        self.end_tokens = [end] if isinstance(end, int) else list(end)

    @torch.no_grad()
    def __call__(self, task: Task) -> list[list[int]]:
        """See [`Alternative`]."""
        rows = [Row(prompt) for prompt in task.prompts]
        going = rows
        for hop in range(task.max_hops + 1):
            reading = self._read(task, going, may_ask=hop < task.max_hops)
            asking = self._append(task, going, reading)
            if not asking:
                break
            going = [going[place] for place in asking]
            _, found = self.index.search(self.embed(going, asking, reading), 1)
            for row, (number,) in zip(going, found, strict=True):
                passage = self.index[int(number)] if task.script is None else task.script.passages[hop]
                row.ids += self.passages.insertion([passage])
        return [row.ids for row in rows]

    def embed(self, rows: list[Row], places: list[int], reading: Reading) -> Any:
        """
        Query embeddings of rows that ask.

        Args:
            rows (`list[Row]`): Each with the query token as its last id.
            places (`list[int]`): Of each row in the batch that was read.
            reading ([`Reading`])

        Returns:
            `Tensor` or `np.ndarray` of shape `(rows, dimension)`
        """
        new = reading.output.sequences[:, reading.attention_mask.shape[1] :]
        steps = [new[place].tolist().index(self.query_token) + 1 for place in places]
        if max(steps) == len(reading.states):
            reading.states.append(self._feed_last(reading, new.shape[1]))
        return torch.stack([reading.states[step][place] for step, place in zip(steps, places, strict=True)])

    def _read(self, task: Task, rows: list[Row], may_ask: bool) -> Reading:
        """Read the rows and let them go on, each to its end or its query token."""
        inputs = left_padded([[*row.prompt, *row.ids] for row in rows], self.model.device)
        with recorded_states(self.model) as states:
            output = self.model.generate(
                **inputs,
                **task.generate_options,
                max_new_tokens=task.max_new_tokens - min(row.generated for row in rows),
                eos_token_id=[*self.end_tokens, self.query_token],
                pad_token_id=self.end_tokens[0],
                suppress_tokens=None if may_ask else [self.query_token],
            )
        return Reading(inputs["attention_mask"], output, states)

    def _append(self, task: Task, rows: list[Row], reading: Reading) -> list[int]:
        """Give each row its new tokens; the places of those that ask."""
        ends, asking = {*self.end_tokens, self.query_token}, []
        sequences = reading.output.sequences[:, reading.attention_mask.shape[1] :].tolist()
        for place, (row, new) in enumerate(zip(rows, sequences, strict=True)):
            # The other rows of the batch may have gone on longer.
            length = next((number + 1 for number, token in enumerate(new) if token in ends), len(new))
            new = new[: min(length, task.max_new_tokens - row.generated)]
            row.ids += new
            row.generated += len(new)
            if new[-1] == self.query_token and row.generated < task.max_new_tokens:
                asking.append(place)
        return asking

    def _feed_last(self, reading: Reading, generated: int) -> Tensor:
        """The states at the last tokens, which `generate` chose and did not feed; without the language-model head."""
        mask = torch.nn.functional.pad(reading.attention_mask, (0, generated), value=1)
        last = reading.output.sequences[:, -1:]
        return self.model(
            input_ids=last,
            attention_mask=mask,
            position_ids=mask.sum(dim=1, keepdim=True) - 1,
            cache=getattr(reading.output, CACHE),
            use_cache=True,
            logits_to_keep=torch.zeros_like(last, dtype=torch.bool),
            retrieval_positions=torch.zeros_like(last),
        ).retrieval_embeddings[:, 0]
