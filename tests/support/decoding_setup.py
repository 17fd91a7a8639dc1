"""A scripted model that retrieves where it is told to, and the slow decoding that one pass has to equal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from onegen_hf import PassageIndex
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.generation import OnePassDecoder, OnePassOutput

PROMPTS = ["Where is it?", "Who made Tin Boat, and where was she born?", "Say a town by the sea in the north.", "Why"]


class Script(LogitsProcessor):
    """
    Lets a random model ask for passages: at every fourth length while it has asked less than `hops` times, never
    otherwise, and keeps it from ending. It depends on a row's own ids alone. What it saw is kept by length.
    """

    def __init__(self, query_token: int, end_token: int, hops: int) -> None:
        self.query_token, self.end_token, self.hops = query_token, end_token, hops
        self.seen: list[tuple[list[int], Tensor]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        assert input_ids.shape[0] == scores.shape[0] == 1
        self.seen.append((input_ids[0].tolist(), scores[0].clone()))
        scores = scores.clone()
        scores[:, self.end_token] = -torch.inf
        asked = int((input_ids == self.query_token).sum())
        asks = asked < self.hops and input_ids.shape[1] % 4 == 0
        scores[:, self.query_token] = 1e4 if asks else -torch.inf
        return scores


@dataclass
class Setup:
    """A model with its tokenizer and index."""

    model: Any
    tokenizer: Any
    index: PassageIndex

    @property
    def query_token(self) -> int:
        return int(self.tokenizer.convert_tokens_to_ids("[RQ]"))

    def script(self, hops: int) -> Script:
        return Script(self.query_token, self.tokenizer.eos_token_id, hops)

    def run(
        self,
        prompts: list[str],
        hops: int = 2,
        k: int = 1,
        max_hops: int = 5,
        script: Any = None,
        max_rows: int | None = None,
        retrieval: Any = "adaptive",
        **options: Any,
    ) -> OnePassOutput:
        """One-pass decoding of a batch, with the ordinary arguments of `generate`."""
        script = self.script(hops) if script is None else script
        encoded = self.tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        decoder = OnePassDecoder(
            self.index, self.tokenizer, self.model.onegen_config, k, max_hops, max_rows, retrieval
        )
        return self.model.generate(
            **{"max_new_tokens": 14, "do_sample": False, **options},
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            custom_generate=decoder,
            logits_processor=LogitsProcessorList(script if isinstance(script, list) else [script]),
            return_dict_in_generate=True,
        )

    def ids(self, prompt: str) -> list[int]:
        return self.tokenizer(prompt)["input_ids"]


@contextmanager
def tokens_fed(model: Any) -> Iterator[list[Tensor]]:
    """The ids of each forward within, flat, as the embedding layer sees them."""
    fed: list[Tensor] = []
    hook = model.get_input_embeddings().register_forward_hook(lambda _, args, __: fed.append(args[0].flatten()))
    try:
        yield fed
    finally:
        hook.remove()


def assert_same_row(one: Any, other: Any) -> None:
    """Two rows with the same ids, ends and hits, and all but the same query embeddings."""
    assert (one.ids, one.stop_reason, one.retrieval_stopped) == (other.ids, other.stop_reason, other.retrieval_stopped)
    for own, reference in zip(one.retrievals, other.retrievals, strict=True):
        assert [hit.row for hit in own.hits] == [hit.row for hit in reference.hits]
        torch.testing.assert_close(own.embedding, reference.embedding, rtol=1e-4, atol=1e-4)


@dataclass
class Recomputed:
    """What the slow decoding found."""

    ids: list[int]
    embeddings: list[Tensor] = field(default_factory=list)
    scores: dict[int, Tensor] = field(default_factory=dict)
    retrieved: list[list[str]] = field(default_factory=list)


@torch.no_grad()
def recompute(
    setup: Setup, prompt: list[int], hops: int, k: int = 1, max_hops: int = 5, max_new_tokens: int = 14
) -> Recomputed:
    """Greedy decoding without a cache: the whole text goes through the model again for every token."""
    encoder = PassageEncoder(setup.tokenizer, setup.model.onegen_config)
    script, found, generated = setup.script(hops), Recomputed(list(prompt)), 0

    def forward() -> Any:
        return setup.model(input_ids=torch.tensor([found.ids]), output_hidden_states=True, use_cache=False)

    while generated < max_new_tokens:
        scores = forward().logits[:, -1].float()
        found.scores[len(found.ids)] = scores[0].clone()
        if len(found.embeddings) >= max_hops:
            scores[:, setup.query_token] = -torch.inf
        scores = script(torch.tensor([found.ids]), scores)
        if len(found.embeddings) >= max_hops:
            scores[:, setup.query_token] = -torch.inf
        found.ids.append(int(scores.argmax()))
        generated += 1
        if found.ids[-1] == setup.query_token and generated < max_new_tokens:
            embedding = forward().hidden_states[-1][0, -1]
            passages = [setup.index[int(row)] for row in setup.index.search(embedding.unsqueeze(0), k)[1][0]]
            found.embeddings.append(embedding)
            found.retrieved.append([passage.id for passage in passages])
            found.ids += encoder.insertion(passages)
    return found
