"""The programs on training, encoding and index types: they compare like with like, and run to result and plot."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import tiny_model

from benchmarks import encoding, index_types, training
from onegen_hf import OneGenDataCollator
from onegen_hf.cli.main import main


def run_quick(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for program in (encoding, index_types, training):
        monkeypatch.setattr(program, "RESULTS", directory)
    main(["benchmark", name, "--quick"])
    assert (directory / f"{name}_quick.svg").is_file()
    return json.loads((directory / f"{name}_quick.json").read_text(encoding="utf-8"))


def test_vectors_are_clustered_and_queries_lie_near_them() -> None:
    vectors, queries = index_types.make_vectors(1000, 50, 72, noise=0.1)
    assert vectors.shape == (1000, 72) and queries.shape == (50, 72)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (queries @ vectors.T).max(axis=1).min() > 0.95
    neighbours = np.sort(vectors @ vectors.T, axis=1)[:, -11:-1]
    assert neighbours.mean() > 0.3  # of the same topic; those of different ones are at 0 on average
    assert abs((vectors @ vectors.T).mean()) < 0.1


def test_index_types_find_what_flat_finds(capsys: pytest.CaptureFixture[str]) -> None:
    options = index_types.parse("--quick --kinds Flat HNSW".split())
    rows = {row["kind"]: row for row in index_types.measure(500, options)}
    assert rows["Flat"]["recall_at_1"] == 1.0
    assert rows["HNSW"]["recall_at_1"] > 0.9
    assert rows["Flat"]["bytes_per_vector"] == pytest.approx(4 * 72, rel=0.01)
    assert rows["HNSW"]["bytes_per_vector"] > rows["Flat"]["bytes_per_vector"]
    assert index_types.factory_of("IVF-PQ", 1_000_000, 576) == "IVF4096,PQ64np"
    for arguments, message in (("--dimension 50", "must be a multiple of 9"), ("--kinds HNSW", "Flat comes first")):
        with pytest.raises(SystemExit):
            index_types.parse(arguments.split())
        assert message in capsys.readouterr().err


def test_recipe_and_joint_step_have_the_same_loss_and_gradients(base_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer)
    batch = OneGenDataCollator(tokenizer, DOCUMENTS)(EXAMPLES[:4])
    steps = training.Steps(model, model, max_length=200)
    weight = model.get_decoder().layers[0].mlp.up_proj.weight
    found = {}
    for kind in ("joint", "recipe", "longest", "plain"):
        model.zero_grad()
        found[kind] = (steps.run(kind, batch), weight.grad.clone())
    for kind in ("recipe", "longest"):
        assert found[kind][0] == pytest.approx(found["joint"][0], rel=1e-4)
        torch.testing.assert_close(found[kind][1], found["joint"][1], rtol=1e-3, atol=1e-4)
    assert found["plain"][0] != pytest.approx(found["joint"][0], rel=1e-2)


def test_kinds_of_steps_take_turns_on_the_same_batches(base_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer)
    monkeypatch.setattr(training, "load_model", lambda options: (model, tokenizer))
    monkeypatch.setattr(
        training, "load_data", lambda options: (Dataset.from_list(DOCUMENTS), Dataset.from_list(EXAMPLES))
    )
    found = training.measure(training.parse(["--quick"]))
    assert {kind: len(seconds) for kind, seconds in found["seconds"].items()} == dict.fromkeys(training.KINDS, 2)
    assert len(found["tokens"]) == len(found["rows"]) == 2
    result = training.summary(found, batch_size=2)
    assert max(result["largest_difference_of_losses"].values()) < 1e-3


def test_training_is_compared_with_joint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training.parse("--kinds recipe plain".split())
    assert "joint is what the others are compared with" in capsys.readouterr().err
    found = {
        "seconds": {"joint": [1.0, 2.0, 4.0], "recipe": [3.0, 8.0, 8.0]},
        "losses": {"joint": [1.0, 1.0, 1.0], "recipe": [1.0, 1.5, 0.75]},
        "tokens": [10, 20, 30],
        "rows": [3, 4, 5],
    }
    result = training.summary(found, batch_size=2)
    assert result["joint_is_faster_by"] == {"recipe": [2.0, 3.0, 4.0]}
    assert result["examples_per_second"]["joint"] == [0.5, 1.0, 2.0]
    assert result["largest_difference_of_losses"] == {"recipe": 0.5}


@pytest.mark.parametrize("name", [pytest.param("training", marks=pytest.mark.slow), "encoding", "index_types"])
def test_quick(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_quick(name, tmp_path, monkeypatch)
    if name == "training":
        assert set(result["examples_per_second"]) == set(training.KINDS)
        assert max(result["largest_difference_of_losses"].values()) < 1e-3
    elif name == "encoding":
        assert min(result["least_cosine"].values()) > 0.999
    else:
        assert {row["kind"] for row in result["indexes"]} == set(index_types.KINDS)
