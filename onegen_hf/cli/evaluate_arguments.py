"""The options of `onegen-hf evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..modeling.auto import OneGenForCausalLM
from ..modeling.int8 import quantize_for_cpu

DEFAULT_K = {"rag": 1, "retrieval": 100, "entity-linking": 10}
"""Task → `k` by default."""


@dataclass
class EvaluateArguments:
    """
    Arguments of `onegen-hf evaluate`.

    Args:
        data (`list[str]`): Dataset repository with the config `examples`, and `documents` unless an index is given.
            For `"entity-linking"` one or several benchmarks, `[GROUP=]PATH[:SPLIT]`: ELEVANT's JSON lines, AIDA's
            table, or a repository.
        out (`str`): Directory of results and report. An interrupted call goes on from what lies there.
        model (`str`, *optional*): Directory or Hub repository; by default the checkpoint that comes with the package.
        tokens (`str`, *optional*): Name of a [`preset`], for a checkpoint without an `onegen` section.
        index (`str`, *optional*): Index directory or repository; by default one of the data's documents is built in
            `out/index`, and for `"entity-linking"` that of the checkpoint is taken.
        split (`str`, *optional*, defaults to `"dev"`): Of the examples.
        documents_split (`str`, *optional*, defaults to `"train"`): Of the documents.
        task (`str`, *optional*, defaults to `"rag"`): `"rag"` generates answers; `"retrieval"` searches with the gold
            text, which takes one forward per example; `"entity-linking"` links mentions, see [`LinkingArguments`].
        gold_passages (`bool`, *optional*, defaults to `False`): Also answer with the gold passages: the upper bound.
        limit (`int`, *optional*): The first so many examples only.
        k (`int`, *optional*): Passages per hop; by default 1 for `"rag"` and 100 for `"retrieval"`. Candidates of a
            mention; by default 10.
        max_hops (`int`, *optional*, defaults to 5)
        max_new_tokens (`int`, *optional*, defaults to 256)
        batch_size (`int`, *optional*, defaults to 8)
        level (`float`, *optional*, defaults to 0.95): Of the confidence intervals.
        device (`str`, *optional*, defaults to `"auto"`): As `device_map`.
        dtype (`str`, *optional*, defaults to `"auto"`)
        int8 (`bool`, *optional*, defaults to `False`): Quantise the linear layers, see [`quantize_for_cpu`].
    """

    data: list[str] = field(
        metadata={"help": "Dataset repository with the configs examples and documents; benchmarks of entity linking."}
    )
    out: str = field(metadata={"help": "Directory of results and report; an interrupted call goes on from there."})
    model: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository; default: the built-in one."}
    )
    tokens: str | None = field(
        default=None, metadata={"help": "Preset of a checkpoint without an onegen section, such as the paper's."}
    )
    index: str | None = field(
        default=None, metadata={"help": "Index directory or repository; default: built of the data's documents."}
    )
    split: str = field(default="dev", metadata={"help": "Split of the examples."})
    documents_split: str = field(default="train", metadata={"help": "Split of the documents."})
    task: str = field(default="rag", metadata={"help": "What to evaluate.", "choices": list(DEFAULT_K)})
    gold_passages: bool = field(default=False, metadata={"help": "Also answer with the gold passages inserted."})
    limit: int | None = field(default=None, metadata={"help": "The first so many examples only."})
    k: int | None = field(default=None, metadata={"help": "Passages per hop, or candidates; default: 1, 100 or 10."})
    max_hops: int = field(default=5, metadata={"help": "Most retrievals in one answer."})
    max_new_tokens: int = field(default=256, metadata={"help": "Most generated tokens in one answer."})
    batch_size: int = field(default=8, metadata={"help": "Examples that go through the model together."})
    level: float = field(default=0.95, metadata={"help": "Level of the confidence intervals."})
    device: str = field(default="auto", metadata={"help": "Such as cpu or cuda:0."})
    dtype: str = field(default="auto", metadata={"help": "Such as float32 or bfloat16."})
    int8: bool = field(default=False, metadata={"help": "Quantise the linear layers, on a CPU."})

    def __post_init__(self) -> None:
        self.data = [self.data] if isinstance(self.data, str) else list(self.data)
        if self.task not in DEFAULT_K:
            raise ValueError(f"task={self.task!r} is unknown: choose one of {list(DEFAULT_K)}")
        if self.task != "entity-linking" and len(self.data) != 1:
            raise ValueError(f"data={self.data}: task={self.task} takes one dataset repository")
        if self.gold_passages and self.task != "rag":
            raise ValueError("gold_passages is for task=rag: the retrieval of gold text has no upper bound but 1")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit={self.limit} must be at least 1 example")
        if not 0 < self.level < 1:
            raise ValueError(f"level={self.level} must be between 0 and 1")
        self.k = DEFAULT_K[self.task] if self.k is None else self.k

    def load_model(self, name: str) -> Any:
        """The model, ready to be evaluated."""
        device = "cpu" if self.int8 and self.device == "auto" else self.device
        model = OneGenForCausalLM.from_pretrained(name, tokens=self.tokens, dtype=self.dtype, device_map=device).eval()
        return quantize_for_cpu(model) if self.int8 else model
