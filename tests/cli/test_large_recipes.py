"""The recipes of 7B models start on a tiny model of the same architecture; accelerate reads the configurations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from datasets import Dataset
from support.paper_checkpoint import llama_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.parquet_export import write_repository
from onegen_hf import OneGenForCausalLM
from onegen_hf.cli.main import main
from onegen_hf.training.run import parse
from onegen_hf.training.utilization import StepFlops

RECIPES = Path(__file__).parents[2] / "recipes"
LARGE = sorted(RECIPES.glob("llama2_7b_*.yaml"))
PAPER: dict[str, tuple[float, int, int, int]] = {
    "llama2_7b_multi_hop": (2e-5, 3, 1200, 8),
    "llama2_7b_self_rag": (2e-5, 3, 2048, 12),
    "llama2_7b_entity_linking": (5e-6, 6, 1300, 10),
}
"""Recipe → learning rate, epochs, longest row, conversations of a device in a step."""


def example(number: int, query: str) -> dict[str, Any]:
    content = f"It is by {query}Ada Moll, born in Fern Bay."
    return {
        "id": f"e{number}",
        "messages": [{"role": "user", "content": "Who made Tin Boat?"}, {"role": "assistant", "content": content}],
        "positives": [[f"d{number % 3}"]], "negatives": [[f"d{(number + 1) % 3}"]], "question": "", "answers": [],
        "meta": "{}",
    }  # fmt: skip


def write_data(root: Path, query: str) -> None:
    documents = [
        {"id": f"d{n}", "title": "Tin Boat", "sentences": [f"It has {n} boats.", "A town by the sea."]}
        for n in range(3)
    ]
    write_repository(
        root,
        Dataset.from_list(documents, features=DOCUMENTS_FEATURES),
        {"train": Dataset.from_list([example(n, query) for n in range(4)], features=EXAMPLES_FEATURES)},
        title="Test",
    )


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.stem)
def test_the_hyper_parameters_are_those_of_the_paper(path: Path) -> None:
    _, _, args, model = parse(["--config", str(path), "--use_cpu", "true", "--bf16", "false"])
    per_device = args.per_device_train_batch_size * args.gradient_accumulation_steps
    assert (args.learning_rate, args.num_train_epochs, args.max_length, per_device) == PAPER[path.stem]
    assert args.contrastive_loss == "bpr" and args.gradient_checkpointing and not model.use_peft


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.stem)
def test_the_budget_follows_from_the_operations_of_a_step(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = re.search(
        r"about ([\d,]+) tokens, ([\de.]+) operations.*?take ([\d.]+) GPU hours for the (\d)", text, re.S
    )
    assert found is not None
    tokens, operations, hours, epochs = (float(number.replace(",", "")) for number in found.groups())
    assert epochs == yaml.safe_load(text)["num_train_epochs"]
    with torch.device("meta"):
        flops = StepFlops.of(LlamaForCausalLM(LlamaConfig()))  # by default of Llama 2 7B
    # Rows of 300 tokens; a seventh of the tokens is predicted. The layers' forward is repeated, the head's is not.
    layers = flops.total(tokens, tokens * 300, 0) * 8 / 6
    assert operations == pytest.approx(layers + flops.total(0, 0, tokens / 7), rel=0.03)
    assert hours == pytest.approx(10_000 * epochs * operations / (0.4 * 989e12) / 3600, rel=0.03)


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.stem)
def test_a_recipe_starts_on_a_tiny_model(path: Path, tmp_path: Path) -> None:
    tokenizer = llama_tokenizer([])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, tie_word_embeddings=False, max_position_embeddings=4096,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    linking = "entity_linking" in path.stem
    write_data(tmp_path / "data", "[LK][_CONTINUE_]" if linking else "[Question Representation]")
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    recipe |= {
        "model_name_or_path": str(tmp_path / "base"), "dataset": [str(tmp_path / "data")], "use_cpu": True,
        "output_dir": str(tmp_path / "run"), "report_to": "none", "max_steps": 1, "bf16": False,
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    main(["train", "--config", str(tmp_path / "recipe.yaml")])
    OneGenForCausalLM.from_pretrained(tmp_path / "run")
    log = json.loads((tmp_path / "run" / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    assert log[0]["loss_gen"] > 0 and log[0]["loss_ret"] > 0 and log[0]["tokens_per_second"] > 0


@pytest.mark.parametrize("path", sorted((RECIPES / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_configurations(path: Path) -> None:
    config = load_config_from_file(str(path))
    kinds = {"multi_gpu": "MULTI_GPU", "fsdp2": "FSDP", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}
    assert str(config.distributed_type).rpartition(".")[2] == kinds[path.stem]
    assert config.num_processes == 8 and config.mixed_precision == "bf16"
    if path.stem == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
    elif path.stem.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(path.stem[-1])
