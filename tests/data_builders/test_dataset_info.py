"""What is loaded is what was built: `datasets` caches a folder by what its README says."""

import json

import pytest
import yaml
from datasets import load_dataset
from datasets.exceptions import NonMatchingSplitsSizesError

from data_builders.build import build_repository
from data_builders.own.converter import OwnConverter


def build(folder, answer):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "towns.jsonl").write_text(json.dumps({"id": "a", "title": "Toll", "text": f"Toll makes {answer}."}))
    asked = {"question": "What does Toll make?", "answers": [answer], "passage_ids": ["a"]}
    (folder / "questions.jsonl").write_text(json.dumps(asked))
    build_repository(OwnConverter(), folder / "corpus", {"train": folder / "questions.jsonl"}, folder / "towns.jsonl")
    return load_dataset(str(folder / "corpus"), "examples", split="train")[0]["answers"]


def test_a_repository_that_is_built_again_is_loaded_anew(tmp_path):
    assert build(tmp_path, "bells") == ["bells"]
    assert build(tmp_path, "ropes") == ["ropes"]


def test_two_folders_of_one_name_are_told_apart(tmp_path):
    assert build(tmp_path / "one", "bells") == ["bells"]
    assert build(tmp_path / "two", "ropes") == ["ropes"]


def test_the_readme_tells_features_rows_and_bytes(tmp_path):
    build(tmp_path, "bells")
    front = yaml.safe_load((tmp_path / "corpus" / "README.md").read_text().split("---")[1])
    examples = next(info for info in front["dataset_info"] if info["config_name"] == "examples")
    assert examples["splits"] == [{"name": "train", "num_bytes": examples["dataset_size"], "num_examples": 1}]
    size = sum(file.stat().st_size for file in (tmp_path / "corpus" / "examples").iterdir())
    assert examples["download_size"] == size
    assert {feature["name"] for feature in examples["features"]} >= {"messages", "positives", "negatives"}


def test_a_shard_that_is_missing_is_noticed(tmp_path):
    build(tmp_path, "bells")
    readme = tmp_path / "corpus" / "README.md"
    readme.write_text(readme.read_text().replace("num_examples: 1", "num_examples: 2"))
    with pytest.raises(NonMatchingSplitsSizesError):
        load_dataset(str(tmp_path / "corpus"), "examples", split="train")
