"""A tiny model, tokenizer and corpus for the tests of encoding and index; made here, without network."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from onegen_hf import OneGenConfig, OneGenForCausalLM, Passage

HIDDEN = 32
SENTENCES = [
    "The harbour of Fern Bay was dug in 1850 by hand.",
    "A kite is red, a boat is made of tin.",
    "She sang an old song about the mill in the north.",
    "Who painted the bridge near the railway, and when?",
]


def make_tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE: every text can be written in it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def make_model(tokenizer: PreTrainedTokenizerBase, seed: int = 0, hidden: int = HIDDEN, **settings: Any) -> Any:
    """A Llama of two layers; `settings` are those of `OneGenConfig`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=320,
            hidden_size=hidden,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            initializer_range=0.2,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
        backbone = LlamaForCausalLM(config).float()
        return OneGenForCausalLM.from_backbone(backbone, tokenizer, onegen_config=OneGenConfig(**settings)).eval()


def make_corpus(number: int) -> list[Passage]:
    """Passages of different length and with one to four sentences each."""
    corpus = []
    for i in range(number):
        sentences = tuple(f"Item {i * 7 + j} is a {'very ' * ((i * 5 + j) % 4)}red kite." for j in range(1 + i % 4))
        corpus.append(Passage(f"p{i}", f"Title {i}", " ".join(sentences), sentences))
    return corpus


class CountedEmbed:
    """Counts the calls of a model's `embed`, and can fail at one of them as a killed process would."""

    def __init__(self, model: Any, fail_at: int | None = None) -> None:
        self.rows: list[int] = []
        self._embed, self._fail_at = model.embed, fail_at
        model.embed = self

    def __call__(self, input_ids: Any, *args: Any) -> Any:
        if self._fail_at is not None and len(self.rows) == self._fail_at:
            raise KeyboardInterrupt
        self.rows.append(len(input_ids))
        return self._embed(input_ids, *args)
