"""`onegen-hf index`: a corpus becomes a searchable index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trl import TrlParser

from ..data.loading import load_documents
from ..index import PassageIndex
from ..modeling.auto import OneGenForCausalLM
from ..modeling.tokenizers import load_tokenizer
from ..presets import DEFAULT_CHECKPOINT, PRESET_CHOICES


@dataclass
class IndexArguments:
    """
    Arguments of `onegen-hf index`.

    Args:
        corpus (`str`): Dataset repository with the config `documents`, or a file (see [`load_documents`]).
        output_dir (`str`): Where the index goes. An interrupted call goes on from what lies there.
        model (`str`, *optional*): Directory or Hub repository; by default the checkpoint that comes with the package.
        tokens (`str`, *optional*): Name of a [`preset`], for a checkpoint without an `onegen` section, such as those
            of the paper.
        split (`str`, *optional*, defaults to `"train"`)
        factory (`str`, *optional*, defaults to `"Flat"`): FAISS factory string.
        batch_size (`int`, *optional*, defaults to 32)
        device (`str`, *optional*, defaults to `"auto"`): As `device_map`.
        dtype (`str`, *optional*, defaults to `"auto"`)
    """

    corpus: str = field(metadata={"help": "Dataset repository with the config `documents`, or a file of passages."})
    output_dir: str = field(metadata={"help": "Directory of the index."})
    model: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository; default: the built-in one."}
    )
    tokens: str | None = field(
        default=None,
        metadata={"help": "Preset for a checkpoint without an onegen section.", "choices": PRESET_CHOICES},
    )
    split: str = field(default="train", metadata={"help": "Split of the repository."})
    factory: str = field(default="Flat", metadata={"help": "FAISS factory string: Flat, HNSW32, IVF4096,PQ64np, ..."})
    batch_size: int = field(default=32, metadata={"help": "Passages per batch."})
    device: str = field(default="auto", metadata={"help": "Such as cpu or cuda:0."})
    dtype: str = field(default="auto", metadata={"help": "Such as float32 or bfloat16."})


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    (options,) = TrlParser(IndexArguments, prog="onegen-hf index").parse_args_and_config(list(arguments))
    documents = load_documents(options.corpus, options.split)
    name = options.model or str(DEFAULT_CHECKPOINT)
    model = OneGenForCausalLM.from_pretrained(
        name, tokens=options.tokens, dtype=options.dtype, device_map=options.device
    )
    index = PassageIndex.build(
        model,
        load_tokenizer(name),
        documents,
        batch_size=options.batch_size,
        factory=options.factory,
        checkpoint_dir=Path(options.output_dir) / "encoding",
        model_id=options.model,
    )
    index.save(options.output_dir)
    print(f"{index} saved to {options.output_dir}")
