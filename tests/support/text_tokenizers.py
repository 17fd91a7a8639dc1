"""Small tokenizers of the kinds that differ in how they read the begin of a text and what is around special tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from onegen_hf.presets import DEFAULT_CHECKPOINT
from onegen_hf.tokens import RetrievalTokens
from support.sample_corpus import CHATML, DOCUMENTS

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEXTS = [sentence for document in DOCUMENTS for sentence in document["sentences"]] * 3


def _finished(backend: Tokenizer) -> Any:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<s>",
        chat_template=CHATML,
    )  # fmt: skip
    tokenizer.add_tokens([AddedToken("<think>"), AddedToken("   ", normalized=False), AddedToken("Fern-Bay")])
    RetrievalTokens().add_to(tokenizer)
    return tokenizer


def _byte_level(add_prefix_space: bool) -> Any:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    return _finished(backend)


def _llama_2() -> Any:
    """A space in front of every piece of text, set by the normalizer; bytes for unknown characters."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[*SPECIAL, *bytes_], show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    # Byte tokens are part of the vocabulary and no added tokens.
    description = json.loads(backend.to_str())
    description["added_tokens"] = [t for t in description["added_tokens"] if t["content"] in SPECIAL]
    return _finished(Tokenizer.from_str(json.dumps(description)))


def _unigram(prepend_scheme: str) -> Any:
    """SentencePiece's unigram model, whose vocabulary holds the names of its special tokens too."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    backend.decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    return _finished(backend)


def _lower_case() -> Any:
    """A tokenizer that lowers case, with an added token that is looked for in the lowered text."""
    backend = Tokenizer(
        models.WordLevel({name: n for n, name in enumerate([*SPECIAL, "<", ">", "tool", "who"])}, "<unk>")
    )
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    backend.add_tokens([AddedToken("<tool>", normalized=True)])
    return _finished(backend)


def _named_in_the_vocabulary() -> Any:
    """A retrieval token that is an ordinary piece of the model's vocabulary, and no added token."""
    words = [*SPECIAL, "[RQ]", "[RD]", "<paragraph>", "</paragraph>", "[", "]", "RQ", "R", "Q]", "who", "\u2581"]
    letters = [chr(n) for n in range(33, 127) if chr(n) not in words]
    backend = Tokenizer(models.Unigram([(word, -1.0) for word in words] + [(c, -9.0) for c in letters], 0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=CHATML
    )


MAKERS: dict[str, Callable[[], Any]] = {
    "byte-level": lambda: _byte_level(False),
    "byte-level-with-space": lambda: _byte_level(True),
    "llama-2": _llama_2,
    "unigram-always": lambda: _unigram("always"),
    "unigram-first": lambda: _unigram("first"),
    "lower-case": _lower_case,
    "vocabulary": _named_in_the_vocabulary,
    "built-in": lambda: AutoTokenizer.from_pretrained(DEFAULT_CHECKPOINT),
}
"""Name → a tokenizer with the retrieval tokens of `RetrievalTokens()`."""
