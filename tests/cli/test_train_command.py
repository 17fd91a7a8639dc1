"""`onegen-hf train` on recipes: full, LoRA, resumed, trained further, evaluated."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.sample_corpus import make_repository
from support.tiny_models import tiny_backbone
from transformers.trainer_utils import get_last_checkpoint

from onegen_hf import OneGenForCausalLM
from onegen_hf.cli.main import main
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.training.run import parse

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def recipe(base_tokenizer: Any, tmp_path: Path) -> Any:
    """Writes a recipe over a tiny backbone and a small repository; returns its path."""
    make_repository(tmp_path / "data")
    tiny_backbone("llama_tied").save_pretrained(tmp_path / "base")
    base_tokenizer.save_pretrained(tmp_path / "base")

    def write(**changes: Any) -> str:
        settings = {
            "model_name_or_path": str(tmp_path / "base"), "dataset": [str(tmp_path / "data")], "dtype": "float32",
            "output_dir": str(tmp_path / "run"), "max_steps": 2, "per_device_train_batch_size": 2, "use_cpu": True,
            "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1,
            "system_prompt": "Look it up.", "max_inserted_tokens": 40, **changes,
        }  # fmt: skip
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
        return str(path)

    return write


def log(directory: Path) -> list[dict[str, Any]]:
    return json.loads((directory / "trainer_state.json").read_text())["log_history"]


def test_a_full_model(recipe: Any, tmp_path: Path) -> None:
    main(["train", "--config", recipe(eval_split="dev", num_examples=[4])])
    model = OneGenForCausalLM.from_pretrained(tmp_path / "run")
    assert model.onegen_config.system_prompt == "Look it up."
    assert model.onegen_config.max_inserted_tokens == 40
    assert model.onegen_config.tokens.ids(load_tokenizer(tmp_path / "run")).query == 400
    assert all("loss_gen" in entry and "loss_ret" in entry for entry in log(tmp_path / "run")[:2])
    assert json.loads((tmp_path / "run" / "eval_results.json").read_text())["eval_recall@1"] in (0.0, 1.0)


def test_lora_then_more_of_it(recipe: Any, tmp_path: Path) -> None:
    options = {"use_peft": True, "lora_r": 2, "lora_target_modules": ["q_proj", "v_proj"], "learning_rate": 0.01}
    main(["train", "--config", recipe(**options)])
    first = OneGenForCausalLM.from_pretrained(tmp_path / "run")
    further = recipe(model_name_or_path=str(tmp_path / "run"), output_dir=str(tmp_path / "more"), learning_rate=0.01)
    main(["train", "--config", further])
    second = OneGenForCausalLM.from_pretrained(tmp_path / "more")
    base = json.loads((tmp_path / "more" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(tmp_path / "base")
    ids = torch.tensor([[5, 6, 400]])
    assert not torch.allclose(first(ids).logits, second(ids).logits)
    assert second.onegen_config == first.onegen_config


def test_an_interrupted_run_goes_on(recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = {"save_strategy": "steps", "save_steps": 1}
    main(["train", "--config", recipe(**options)])
    assert get_last_checkpoint(str(tmp_path / "run")).endswith("checkpoint-2")
    shutil.rmtree(tmp_path / "run" / "checkpoint-2")
    main(["train", "--config", recipe(**options)])
    assert f"going on from {tmp_path / 'run' / 'checkpoint-1'}" in caplog.text
    assert [entry["step"] for entry in log(tmp_path / "run") if "loss" in entry] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learning_rate": 0.05}, "learning_rate=0.05 (there: 5e-05)"),
        ({"max_steps": 4}, "max_steps=4 (there: 2)"),
        ({"system_prompt": "Think."}, "system_prompt='Think.' (there: 'Look it up.')"),
        ({"num_examples": [3]}, "num_examples=[3] (there: None)"),
        ({"system_prompt": None}, "system_prompt=None (there: 'Look it up.')"),
    ],
)
def test_a_folder_with_other_settings_is_refused_before_anything_is_loaded(
    recipe: Any, changes: dict[str, Any], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"save_strategy": "steps", "save_steps": 1}
    main(["train", "--config", recipe(**options)])
    with monkeypatch.context() as patched, pytest.raises(SystemExit) as stopped:
        patched.setattr("onegen_hf.training.run.load_for_training", None)
        main(["train", "--config", recipe(**options, **changes)])
    assert named in str(stopped.value.code) and "overwrite_output_dir" in str(stopped.value.code)


def test_a_folder_with_other_settings_is_overwritten_if_asked_for(recipe: Any, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 1}
    main(["train", "--config", recipe(**options)])
    options["system_prompt"] = None
    main(["train", "--config", recipe(**options), "--overwrite_output_dir"])
    main(["train", "--config", recipe(**options)])


def test_a_run_killed_while_it_wrote_a_checkpoint_goes_on(
    recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"save_strategy": "steps", "save_steps": 1}
    main(["train", "--config", recipe(**options)])
    (tmp_path / "run" / "checkpoint-2" / "trainer_state.json").unlink()
    main(["train", "--config", recipe(**options)])
    assert f"going on from {tmp_path / 'run' / 'checkpoint-1'}" in caplog.text
    assert [entry["step"] for entry in log(tmp_path / "run") if "loss" in entry] == [1, 2]


def test_the_command_line_overrides_the_recipe(recipe: Any, tmp_path: Path) -> None:
    main(["train", "--config", recipe(), "--max-steps", "1", "--preset", "self-rag"])
    tokens = json.loads((tmp_path / "run" / "config.json").read_text())["onegen"]["tokens"]
    assert "[Utility:5]" in tokens["generation"]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_name_options_that_there_are(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, _, args, model = parse(["--config", str(path), "--use_cpu"])
    assert data.dataset and model.model_name_or_path
    assert args.output_dir and args.output_dir.startswith("outputs/")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"learning_rat": 1.0}, "learning_rat"),
        ({"preset": "multihop"}, "multihop"),
        ({"num_examples": [1, 2]}, "needs one number for each of the 1 datasets"),
        ({"model_name_or_path": None}, "model_name_or_path is missing"),
        ({"dataset": ["nowhere"]}, "nowhere: no such folder or file here"),
        ({"contrastive_loss": "triplet"}, "triplet"),
        ({"train_split": "test"}, "split 'test'"),
    ],
)
def test_faulty_recipes(recipe: Any, changes: dict[str, Any], match: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", recipe(**changes)])
    assert stopped.value.code not in (0, None)
    assert match in str(stopped.value.code) + capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_from_the_command_line(recipe: Any, tmp_path: Path) -> None:
    config = recipe(max_steps=3, eval_split="dev")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run([*launcher, "-m", "onegen_hf.train", "--config", config], check=True, timeout=300)
    assert json.loads((tmp_path / "run" / "trainer_state.json").read_text())["global_step"] == 3
    assert OneGenForCausalLM.from_pretrained(tmp_path / "run").onegen_config.system_prompt == "Look it up."
    assert (tmp_path / "run" / "README.md").read_text().count("## Training") == 1
