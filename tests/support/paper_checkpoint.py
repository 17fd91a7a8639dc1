"""Tiny random checkpoints in the layout of the paper's, and embeddings as the authors' program makes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXTS = [
    "Tin Boat is a film by Ada Moll. She was born in Fern Bay, a town by the sea.",
    "wiki title: Tin Boat content: It has a boat. The description of Fern Bay is as follows: a <MENTION>",
]
BYTES = [f"<0x{code:02X}>" for code in range(256)]
PREFIXES = ["every piece", "first piece", "none"]
"""Where Llama 2's tokenizer puts a space in front, by the version and the options with which it was saved."""


def llama_tokenizer(added: Sequence[str], prefix: str = "every piece") -> Any:
    """SentencePiece-like byte-fallback BPE, as Llama 2's; the tokens are added as the authors' program adds them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if prefix == "first piece":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        spaces = normalizers.Replace(" ", "\u2581")
        dummy = [normalizers.Prepend("\u2581")] if prefix == "every piece" else []
        tokenizer.normalizer = normalizers.Sequence([*dummy, spaces])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    # Byte tokens are in the vocabulary of Llama, but no special tokens.
    words = [text.replace(" ", " \u2581") for text in TEXTS for _ in range(3)]
    learnt = Tokenizer(models.BPE(unk_token="<unk>"))
    learnt.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learnt.train_from_iterator(words, trainer)
    state = json.loads(learnt.to_str())["model"]
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {name: 3 + code for code, name in enumerate(BYTES)}
    for name in sorted(state["vocab"], key=lambda name: state["vocab"][name]):
        vocabulary.setdefault(name, len(vocabulary))
    merges = [tuple(pair) for pair in state["merges"]]
    tokenizer.model = models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.add_tokens(list(added), special_tokens=True)
    return fast


def write_checkpoint(path: Path, added: Sequence[str], prefix: str = "every piece") -> Path:
    """A checkpoint as the authors' training saves it: no `onegen` section, the class name of their training."""
    tokenizer = llama_tokenizer(added, prefix)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=2048, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    content = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**content, "architectures": ["OneGenModel"]}))
    return path


@torch.no_grad()
def reference_embeddings(path: Path, tokenizer: Any, text: str, token: str, skipped: int) -> Tensor:
    """The hidden states at a token in a text that is tokenized as a whole, without those of its first occurrences."""
    model = LlamaForCausalLM.from_pretrained(path).eval()
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    hidden = model.model(input_ids=ids).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden[ids[0] == tokenizer.convert_tokens_to_ids(token)][skipped:], dim=-1)
