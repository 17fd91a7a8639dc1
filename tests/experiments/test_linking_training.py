"""The parts of `experiments.linking`: development texts, and adapters in parts."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from experiments.linking.development import names_only
from experiments.linking.train import ADAPTER, join_files, split_file


def test_development_texts_keep_proper_names_of_the_labelled_part() -> None:
    text = "Title. Ada Moll saw a novel; she slept in Fern Bay. More on Ada Moll."
    labels = [
        ("Ada Moll", 7, "Q1", "Q215627"), ("novel", 22, "Q2", "Q483394"), ("she", 29, "Q1", "Q215627"),
        ("Fern Bay", 42, "Q3", "Q27096213"), ("Ada Moll", 60, "Q1", "Q215627"),
    ]  # fmt: skip
    row = {
        "id": 4,
        "text": text,
        "evaluation_span": [7, 51],
        "labels": [
            {"id": number, "span": [start, start + len(mention)], "entity_id": entity, "name": mention, "type": kind}
            for number, (mention, start, entity, kind) in enumerate(labels)
        ],
    }
    cut = names_only(row)
    assert cut["text"] == "Ada Moll saw a novel; she slept in Fern Bay." and cut["evaluation_span"] == [0, 44]
    assert [cut["text"][slice(*label["span"])] for label in cut["labels"]] == ["Ada Moll", "Fern Bay"]
    assert [label["id"] for label in cut["labels"]] == [0, 3]


def test_an_adapter_in_parts_is_put_together(tmp_path: Path) -> None:
    tensors = {f"layer.{number}": torch.randn(4, 8) for number in range(5)}
    folder = tmp_path / "linker"
    folder.mkdir()
    save_file(tensors, folder / ADAPTER, metadata={"format": "pt"})
    (folder / "config.json").write_text("{}")
    parts = split_file(folder / ADAPTER, most=2 * 4 * 8 * 4)
    assert len(parts) == 3 and not (folder / ADAPTER).exists()
    join_files(folder, tmp_path / "joined")
    joined = load_file(tmp_path / "joined" / ADAPTER)
    assert joined.keys() == tensors.keys() and all(torch.equal(joined[name], tensors[name]) for name in tensors)
    assert sorted(path.name for path in (tmp_path / "joined").iterdir()) == [ADAPTER, "config.json"]
