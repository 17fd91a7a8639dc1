"""
Every causal language model of transformers that can be built tiny, through all that this package does with a backbone.

`python tests/support/sweep.py` prints the table of docs/backbones.md; `pytest -m slow tests/modeling/test_sweep.py`
checks that nothing in it is wrong.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script, without pytest's set-up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)

from onegen_hf import OneGenDataCollator, OneGenForCausalLM, PassageIndex
from onegen_hf.generation import OnePassDecoder
from onegen_hf.generation.memory import Reading, reading_of
from onegen_hf.index.encode import encode_passages
from onegen_hf.modeling.tiny_twin import tiny_settings
from support.sample_corpus import DOCUMENTS, EXAMPLES, build_tokenizer

PROMPT = "Who made Tin Boat, and where was she born?"


SECONDS_TO_BUILD = 30
"""Some configurations have sizes that are not known as such, and would be made in full."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in the main thread after some seconds."""

    def expire(*_: Any) -> None:
        raise TimeoutError(f"takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Outcome:
    """
    What became of one architecture.

    Attributes:
        verdict (`str`): `"right"`, `"slower"` (but right), `"refused"` by name, `"error"` (of a
            library), `"not built"`, or `"WRONG"`: another result in silence.
    """

    name: str
    verdict: str
    detail: str = ""


class Wrong(Exception):
    """A result that differs from the plain one."""


def architectures() -> list[str]:
    """Names of all causal language models, without importing one."""
    names: dict[str, str] = {}
    for name, model in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        if name != "gpt-sw3":  # another name of gpt2
            names.setdefault(model[0] if isinstance(model, tuple) else model, name)
    return sorted(names.values())


def classes_of(name: str) -> tuple[type, type]:
    """Configuration and model class of an architecture."""
    config = CONFIG_MAPPING[name]
    model = MODEL_FOR_CAUSAL_LM_MAPPING[config]
    return config, model[0] if isinstance(model, tuple) else model


def tiny(config_class: type, model_class: type, vocabulary: int) -> Any:
    """A tiny random model of an architecture, or what keeps it from being one."""
    settings = tiny_settings(config_class().get_text_config())
    settings |= {"vocab_size": vocabulary, "bos_token_id": 1, "eos_token_id": 3, "pad_token_id": 0}
    config = type(config_class().get_text_config())(**settings)
    torch.manual_seed(0)
    model = model_class(config).float().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def close(what: str, one: torch.Tensor, other: torch.Tensor, tolerance: float = 2e-3) -> None:
    difference = float((one.float() - other.float()).norm() / other.float().norm().clamp(min=1e-6))
    if not difference <= tolerance:
        raise Wrong(f"{what} differs by {difference:.1e}")


def examine(name: str, config_class: type, model_class: type) -> Outcome:
    """Build, save, load, encode, decode and train one architecture."""
    tokenizer = build_tokenizer()
    try:
        with time_limit(SECONDS_TO_BUILD):
            backbone = tiny(config_class, model_class, len(tokenizer))
            backbone(torch.tensor([[5, 6, 7]]))
            plainly_usable(backbone)
    except Exception as error:  # any architecture in its own way
        return Outcome(name, "not built", f"{type(error).__name__}: {str(error)[:60]}")
    try:
        model = OneGenForCausalLM.from_backbone(backbone, tokenizer).eval()
        with torch.no_grad():
            saved_and_loaded(model)
            encoded(model, tokenizer)
            decoded(model, tokenizer)
        trained(model, tokenizer)
    except Wrong as error:
        return Outcome(name, "WRONG", str(error))
    except (ValueError, TypeError, NotImplementedError) as error:
        return Outcome(name, "refused", str(error).split("\n")[0][:110])
    except Exception as error:  # raw, and far from its cause
        return Outcome(name, "error", f"{type(error).__name__}: {str(error)[:90]}")
    reading = reading_of(model)
    return Outcome(name, "right" if reading is Reading.PACKED else "slower", reading.value)


@torch.no_grad()
def plainly_usable(backbone: Any) -> None:
    """What transformers itself can't do with an architecture is not ours to judge."""
    ids = torch.tensor([[5, 6, 7, 8]])
    with tempfile.TemporaryDirectory() as folder:
        backbone.save_pretrained(folder)
        loaded = type(backbone).from_pretrained(folder).eval()
    close("transformers' own: forward after loading", loaded(ids).logits, backbone(ids).logits)
    size = backbone.get_input_embeddings().weight.shape[0]
    loaded.resize_token_embeddings(size + 4, mean_resizing=False)
    loaded(torch.tensor([[5, size + 1]]))


def saved_and_loaded(model: Any) -> None:
    """Every tensor and a forward are the same after saving and loading."""
    ids = torch.tensor([[5, 6, 7, 8]])
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = OneGenForCausalLM.from_pretrained(folder).eval()
    if type(loaded) is not type(model):
        raise Wrong(f"loaded as {type(loaded).__name__}")
    buffers = dict(loaded.named_buffers())
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            close(f"buffer {name}", buffers[name], buffer)
    close("forward after loading", loaded(ids).logits, model(ids).logits)


def encoded(model: Any, tokenizer: Any) -> None:
    """Passages embedded in a batch equal those embedded alone, and the plain hidden state at the document token."""
    together, alone = (
        torch.as_tensor(encode_passages(model, tokenizer, DOCUMENTS[:4], batch_size, show_progress=False).embeddings)
        for batch_size in (4, 1)
    )
    close("embeddings in a batch", together, alone)


def decoded(model: Any, tokenizer: Any) -> None:
    """Without a retrieval, one-pass decoding writes what `generate` writes; a batch equals its rows."""
    index = PassageIndex.build(model, tokenizer, DOCUMENTS[:4], show_progress=False)
    inputs = tokenizer(PROMPT, return_tensors="pt")
    query = tokenizer.convert_tokens_to_ids("[RQ]")
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "suppress_tokens": [query]}
    decoder = OnePassDecoder(index, tokenizer, model.onegen_config)
    ours = model.generate(**inputs, custom_generate=decoder, **options)
    theirs = model.generate(**inputs, **options)
    if ours.tolist() != theirs.tolist():
        scores = model(theirs).logits[0].float()
        place = next(p for p, (a, b) in enumerate(zip(ours[0].tolist(), theirs[0].tolist(), strict=False)) if a != b)
        ours_score, theirs_score = (float(scores[place - 1, ids[0, place]]) for ids in (ours, theirs))
        if abs(ours_score - theirs_score) > 1e-3:  # no tie
            raise Wrong(f"decoding: token {place - inputs['input_ids'].shape[1]} differs from generate's")
    padded = tokenizer([PROMPT, "Why?"], return_tensors="pt", padding=True, padding_side="left")
    always = OnePassDecoder(index, tokenizer, model.onegen_config, threshold=0.0, max_hops=2)
    run = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True}
    for row, prompt in zip(
        model.generate(**padded, custom_generate=always, **run).rows, [PROMPT, "Why?"], strict=True
    ):
        alone = model.generate(**tokenizer(prompt, return_tensors="pt"), custom_generate=always, **run).rows[0]
        for hop, other in zip(row.retrievals, alone.retrievals, strict=True):
            close("query embedding in a batch", hop.embedding, other.embedding)
        first = row.retrievals[0]
        plain = model(torch.tensor([row.ids[: first.position + 1]]), retrieval_positions=[[first.position]])
        close("query embedding", first.embedding, plain.retrieval_embeddings[0, 0])


def trained(model: Any, tokenizer: Any) -> None:
    """One step of the joint loss has finite gradients for all weights that take part."""
    model.train()
    output = model(**OneGenDataCollator(tokenizer, DOCUMENTS)(EXAMPLES[:2]))
    output.loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not gradients or not all(bool(torch.isfinite(g).all()) for g in gradients):
        raise Wrong("gradients are missing or not finite")


def table(outcomes: list[Outcome]) -> str:
    """As Markdown."""
    lines = ["| architecture | result | how rows are read, or why not |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{o.name}` | {o.verdict} | {o.detail.replace('|', '/')} |" for o in outcomes)])


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    wanted = set(sys.argv[1:])
    outcomes = []
    for name in architectures():
        if not wanted or name in wanted:
            outcomes.append(examine(name, *classes_of(name)))
            sys.stderr.write(f"{outcomes[-1]}\n")
    sys.stdout.write(table(outcomes) + "\n")


if __name__ == "__main__":
    main()
