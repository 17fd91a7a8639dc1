"""A tiny entity linker with its catalogue, and benchmarks of made-up texts in ELEVANT's layout."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

from onegen_hf import PassageIndex
from onegen_hf.pipelines import OneGenEntityLinkingPipeline
from support.linking_setup import ENTITIES, linking_setup
from support.sample_corpus import build_tokenizer


def label(text: str, mention: str, entity_id: str, **more: Any) -> dict[str, Any]:
    """A label at the first place where `mention` stands."""
    start = text.index(mention)
    return {"span": [start, start + len(mention)], "entity_id": entity_id, "name": mention, "type": "OTHER", **more}


def row(number: int, text: str, *labels: tuple[Any, ...], **more: Any) -> dict[str, Any]:
    """A row of a benchmark; a label is `(mention, entity_id)`, or with further fields in a mapping."""
    made = [label(text, *one[:2], **({"id": n} | (one[2] if len(one) > 2 else {}))) for n, one in enumerate(labels)]
    return {"id": number, "title": "", "text": text, "labels": made, **more}


TOWNS = [
    row(0, "Ada Moll lives in Fern Bay.", ("Ada Moll", "Q1"), ("Fern Bay", "Q2")),
    row(1, "Elm Hill lies far from Fern Bay.", ("Elm Hill", "Q4"), ("Fern Bay", "Q2")),
    row(2, "Nobody met Zed in 1999.", ("Zed", "<NIL>"), ("1999", "DATETIME", {"type": "DATETIME"})),
]
PEOPLE = [
    row(7, "Ben Oak of Elm Hill paints.", ("Ben Oak of Elm Hill", "Q3"), ("Elm Hill", "Q4", {"parent": 0})),
    row(8, "Ben Oak sings, he says.", ("Ben Oak", "Q3"), ("he", "Q3", {"coref": True}), ("sings", "Q99")),
]


@functools.cache
def checkpoint(folder: Path) -> Path:
    """The model with its catalogue in the folder `index`."""
    setup = linking_setup(build_tokenizer())
    index = PassageIndex.build(setup.model, setup.tokenizer, ENTITIES, show_progress=False)
    setup.model.onegen_config.default_index = "./index"
    setup.model.onegen_config.attach_to(setup.model.config)
    setup.model.save_pretrained(folder)
    setup.tokenizer.save_pretrained(folder)
    index.save(folder / "index")
    return folder


@functools.cache
def tiny_linker() -> OneGenEntityLinkingPipeline:
    """A random linker: what it finds is anything, but always the same."""
    setup = linking_setup(copy.deepcopy(build_tokenizer()))
    index = PassageIndex.build(setup.model, setup.tokenizer, ENTITIES, show_progress=False)
    return OneGenEntityLinkingPipeline(model=setup.model, tokenizer=setup.tokenizer, index=index)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a benchmark as JSON lines."""
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path
