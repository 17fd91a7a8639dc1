"""What is pushed over an older version replaces it: no file of that one is left to be loaded in its place."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from support.hub_processes import run
from support.loopback import LoopbackHub
from support.tiny_models import tiny_backbone

from data_builders.build import build_repository
from data_builders.own.converter import OwnConverter
from onegen_hf import OneGenForCausalLM
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.training.trainer import add_adapter

PUSH = """
import json, sys
from onegen_hf.cli.main import main

for arguments in json.loads(sys.argv[1]):
    main(["push", *arguments])
"""


def build(folder: Path, documents: int) -> Path:
    """A dataset of so many passages, a thousand in each file."""
    folder.mkdir()
    towns = [{"id": f"t{n}", "title": f"Town {n}", "text": f"Town {n} has {n} gates."} for n in range(documents)]
    question = {"question": "How many gates has Town 1?", "answer": "1", "positives": ["t1"]}
    (folder / "towns.jsonl").write_text("".join(json.dumps(town) + "\n" for town in towns))
    (folder / "train.jsonl").write_text(json.dumps(question) + "\n")
    files = {"train": str(folder / "train.jsonl")}
    build_repository(OwnConverter(), folder / "built", files, str(folder / "towns.jsonl"), bytes_per_shard=1)
    return folder / "built"


def parts(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*.parquet")}


@pytest.mark.slow
def test_files_of_an_older_version_go(hub: LoopbackHub, base_tokenizer: Any, tmp_path: Path) -> None:
    before, after = build(tmp_path / "before", 2500), build(tmp_path / "after", 1500)
    assert len(parts(before)) > len(parts(after))

    tiny_backbone().save_pretrained(tmp_path / "base")
    tokenizer = copy.deepcopy(base_tokenizer)
    model = OneGenForCausalLM.from_backbone(str(tmp_path / "base"), tokenizer)
    for name, size in (("whole", "50GB"), ("shards", "20KB")):
        model.save_pretrained(tmp_path / name, max_shard_size=size)
        tokenizer.save_pretrained(tmp_path / name)
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], init_lora_weights=False)
    save_adapter(add_adapter(model, tokenizer, config), tokenizer, tmp_path / "adapter")
    content = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    (tmp_path / "adapter/adapter_config.json").write_text(
        json.dumps({**content, "base_model_name_or_path": "org/base"})
    )

    pushes = [["dataset", str(folder), "org/towns"] for folder in (before, after)]
    pushes += [["model", str(tmp_path / name), "org/model"] for name in ("adapter", "whole", "shards")]
    pushes += [["model", str(tmp_path / name), "org/adapter"] for name in ("whole", "adapter")]
    hub.repositories["datasets/org/towns"] = {"main": {"notes.md": b"of others", "documents/notes.txt": b"too"}}
    hub.repositories["models/org/model"] = {"main": {"last-checkpoint/model.safetensors": b"of a training"}}
    run(hub, tmp_path / "pusher", "-c", PUSH, json.dumps(pushes))

    towns = hub.repositories["datasets/org/towns"]["main"]
    assert {name for name in towns if name.endswith(".parquet")} == parts(after)
    assert {"notes.md", "documents/notes.txt"} <= set(towns)  # nobody asked to delete these
    found = hub.repositories["models/org/model"]["main"]
    assert "adapter_config.json" not in found and "model.safetensors" not in found
    assert {"model.safetensors.index.json", "tokenizer.json", "last-checkpoint/model.safetensors"} <= set(found)
    found = hub.repositories["models/org/adapter"]["main"]
    assert {name for name in found if name.endswith(".safetensors")} == {"adapter_model.safetensors"}
