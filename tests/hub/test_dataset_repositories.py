"""A dataset is built, pushed and loaded by name in another process: both configs, streaming too, code as printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from huggingface_hub.repocard import metadata_load
from support.hub_processes import run
from support.loopback import LoopbackHub

from data_builders.build import build_repository
from data_builders.card import size_category
from data_builders.own.converter import OwnConverter
from onegen_hf.cli.main import main
from onegen_hf.hub import dataset_upload

LOAD = """
import json, re, sys
from datasets import get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard

card = DatasetCard.load("org/towns")
card.validate()
code = re.search(r"```python\\n(.*?)```", card.content, re.DOTALL)[1]
exec(compile(code, "card", "exec"), {})
print(json.dumps({
    "configs": get_dataset_config_names("org/towns"),
    "documents": load_dataset("org/towns", "documents", split="train")["id"][:],
    "examples": {split: rows["id"][:] for split, rows in load_dataset("org/towns", "examples").items()},
    "streamed": [row["id"] for row in load_dataset("org/towns", "documents", split="train", streaming=True)],
}))
"""


def build(folder: Path, documents: int = 6, **options: Any) -> dict[str, Any]:
    """A repository of made-up towns; one of the questions can't be used."""
    folder.mkdir(exist_ok=True)
    towns = [{"id": f"t{n}", "title": f"Town {n}", "text": f"Town {n} has {n} gates."} for n in range(documents)]
    questions = [
        {"question": f"How many gates has Town {n}?", "answer": str(n), "positives": [f"t{n}"]} for n in range(4)
    ]
    sources = {"towns": towns, "train": [*questions[:3], {"question": ""}], "dev": questions[3:]}
    for name, rows in sources.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "dev")}
    return build_repository(
        OwnConverter(), folder / "built", files, str(folder / "towns.jsonl"), on_error="skip", **options
    )


def code_of(card: str) -> str:
    found = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_card_tells_the_build(tmp_path: Path) -> None:
    report = build(tmp_path, license="cc-by-4.0")
    text = (tmp_path / "built/README.md").read_text()
    data = metadata_load(tmp_path / "built/README.md")
    assert data["size_categories"] == ["n<1K"] and data["license"] == "cc-by-4.0" and "own" in data["tags"]
    assert data["task_categories"] == ["question-answering", "text-retrieval"]
    assert [config["config_name"] for config in data["configs"]] == ["documents", "examples"]
    assert [part["split"] for part in data["configs"][1]["data_files"]] == ["train", "dev"]
    assert report["sources"] == {"train": ["train.jsonl"], "dev": ["dev.jsonl"], "documents": ["towns.jsonl"]}
    ((reason, count),) = report["splits"]["train"]["dropped"].items()
    for part in (
        "| documents | train | 6 |", "| examples | dev | 1 |", f"| train | {reason} | {count} |", "`towns.jsonl`",
        "| seed | `0` |", "| `positives` | list of list of string |", "@inproceedings{zhang2024onegen", "`cc-by-4.0`",
    ):  # fmt: skip
        assert part in text, part
    assert str(tmp_path) not in text and "None" not in text and "{{" not in text


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    main(["build", "facts", "--output-dir", str(tmp_path), "--train-size", "20", "--dev-size", "5"])
    text = (tmp_path / "README.md").read_text()
    assert not [part for part in ("## Licence", "## How it was made", "license:", "None") if part in text]


def test_its_code_runs_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path)
    monkeypatch.chdir(tmp_path / "built")
    exec(compile(code_of(Path("README.md").read_text()), "card", "exec"), {})


def test_pushed_under_a_name_the_card_loads_that(tmp_path: Path) -> None:
    build(tmp_path)
    text = str(dataset_upload(tmp_path / "built", "org/towns").card)
    assert code_of(text).count('load_dataset("org/towns", ') == 3 and "getcwd" not in text and "import os" not in text
    kept = str(dataset_upload(tmp_path / "built", "org/towns", keep_card=True).card)
    assert kept.strip() == (tmp_path / "built/README.md").read_text().strip()


def test_several_shards_are_one_split(tmp_path: Path) -> None:
    build(tmp_path, documents=2500, bytes_per_shard=1)
    shards = sorted((tmp_path / "built/documents").glob("*.parquet"))
    assert [pq.read_metadata(shard).num_rows for shard in shards] == [1000, 1000, 500]
    assert DatasetCard.load(tmp_path / "built/README.md").data.size_categories == ["1K<n<10K"]
    assert len(load_dataset(str(tmp_path / "built"), "documents", split="train")) == 2500
    assert len([name for name in dataset_upload(tmp_path / "built", "o/t").files if "documents/" in name]) == 3


@pytest.mark.slow
def test_pushed_and_loaded_by_name(hub: LoopbackHub, tmp_path: Path) -> None:
    build(tmp_path, documents=1500, bytes_per_shard=1)
    push = "import sys; from onegen_hf.cli.main import main; main(sys.argv[1:])"
    run(hub, tmp_path / "pusher", "-c", push, "push", "dataset", str(tmp_path / "built"), "org/towns")
    printed = run(hub, tmp_path / "loader", "-c", LOAD)
    found = json.loads(printed.splitlines()[-1])
    ids = [f"t{n}" for n in range(1500)]
    assert found == {
        "configs": ["documents", "examples"],
        "documents": ids,
        "examples": {"train": ["train-1", "train-2", "train-3"], "dev": ["dev-1"]},
        "streamed": ids,
    }
    assert hub.ranges  # streaming reads parts of files
    assert "How many gates has Town 0?" in printed  # the card's own code


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (999_999_999, "100M<n<1B"), (10**9, "n>1B")],
)
def test_size_categories(rows: int, category: str) -> None:
    assert size_category(rows) == category
