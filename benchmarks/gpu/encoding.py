"""
Encoding passages against the forward of a SentenceTransformer.

- `onegen`: [`encode_passages`] with its defaults.
- `library_32`, `library_256`: the loop of that library over the same texts, in its default batches and in larger ones:
  the longest first, a batch padded to its longest, transformers' decoder, and the last token's state of unit length.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from benchmarks.gpu.measuring import Budget, Measurement, in_turns, ratios
from benchmarks.gpu.models import joint_model, tokenizer
from benchmarks.report import spread
from onegen_hf import Passage
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.index.encode import encode_passages

BATCH_SIZES = (32, 256)
REPEATS = 3


def passages_of(number: int) -> list[Passage]:
    """Made-up passages of 20 to 160 words."""
    draw = random.Random(0)
    words = ["river", "town", "city", "bridge", "museum", "writer", "film", "directed", "born", "in", "the", "of"]
    texts = [" ".join(draw.choices(words, k=draw.randint(20, 160))) for _ in range(number)]
    return [Passage(str(place), f"Title {place}", text) for place, text in enumerate(texts)]


@torch.inference_mode()
def library_forward(model: Any, words: Any, texts: list[str], size: int, device: str) -> np.ndarray:
    """Embeddings as a SentenceTransformer with a pooling of the last token makes them."""
    order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
    parts = []
    for start in range(0, len(order), size):
        rows = [texts[place] for place in order[start : start + size]]
        inputs = words(rows, padding=True, add_special_tokens=False, return_tensors="pt").to(device)
        hidden = model.get_decoder()(**inputs, use_cache=False).last_hidden_state
        last = inputs["attention_mask"].sum(dim=1) - 1
        states = hidden[torch.arange(len(rows), device=device), last]
        parts.append(normalize(states.float(), dim=-1).cpu())
    embeddings = torch.cat(parts)
    return embeddings[torch.tensor(order).argsort()].numpy()


def measure_model(shape: str, number: int, device: str, dtype: torch.dtype, budget: Budget) -> dict[str, Any]:
    """
    Passages per second, and whether the embeddings agree.

    Args:
        shape (`str`): Of the model, see `benchmarks.gpu.models`.
        number (`int`): Passages.
        device (`str`), dtype (`torch.dtype`)
        budget ([`Budget`])
    """
    words = tokenizer()
    words.padding_side = "right"
    model = joint_model(shape, device, dtype).eval()
    model.set_onegen_config(replace(model.onegen_config, max_embedded_tokens=512))  # nothing is cut
    encoder = PassageEncoder(words, model.onegen_config)
    passages = passages_of(number)
    texts = [encoder.render(passage) + model.onegen_config.tokens.document for passage in passages]
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["onegen"] = encode_passages(model, words, passages, show_progress=False).embeddings

    def library(size: int) -> None:
        found["library"] = library_forward(model, words, texts, size, device)

    kinds: dict[str, Callable[[], Any]] = {"onegen": ours}
    kinds |= {f"library_{size}": partial(library, size) for size in BATCH_SIZES}
    seconds = in_turns(kinds, REPEATS, device, budget)
    return {
        "passages": number,
        "passages_per_second": {name: spread([number / v for v in taken], 0) for name, taken in seconds.items()},
        "onegen_is_faster_by": {name: ratios(seconds, name, "onegen") for name in kinds if name != "onegen"},
        "least_cosine": round(float((found["onegen"] * found["library"]).sum(axis=1).min()), 4),
    }


def encoding(device: str, dtype: torch.dtype, budget: Budget, quick: bool) -> Iterator[Measurement]:
    """
    Yields:
        [`Measurement`]: The model's size, and the function that measures it.
    """
    for shape, number in (("tiny", 24),) if quick else (("135M", 4096), ("1B", 2048)):
        yield shape, partial(measure_model, shape, number, device, dtype, budget)
