"""The model card says what was recorded, and nothing else; its code runs as printed."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from support.tiny_models import tiny_backbone, tiny_model
from support.training_setup import trainer_for
from trl import TrlParser

from onegen_hf import OneGenTrainingArguments, PassageIndex, RetrievalTokens
from onegen_hf.cards import index_card, model_card

TRAINING = {
    "contrastive_loss": "bpr", "bpr_negatives": "sum", "contrastive_scale": None, "lambda_gen": 1.0, "lambda_ret": 0.5,
    "learning_rate": 6e-4, "num_hard_negatives": 2, "seed": 7, "output_dir": "/somewhere/here",
}  # fmt: skip
STATE = {
    "global_step": 12,
    "total_flos": 1.5e12,
    "log_history": [
        {"loss_gen": 2.5, "loss_ret": 0.75, "step": 1, "epoch": 0.1},
        {"loss_gen": 1.5, "loss_ret": 0.5, "step": 6, "epoch": 0.5},
        {"loss_gen": 0.5, "loss_ret": 0.25, "step": 12, "epoch": 1.0},
        {"train_runtime": 3.0},
    ],
}
RESULTS = {"eval_loss_gen": 0.4, "eval_recall@1": 0.91239, "eval_runtime": 2.0, "epoch": 1.0, "eval_num_passages": 9.0}
RUN = {
    "base_model": "org/base", "datasets": ["org/data"], "examples": 1234, "documents": 5678, "seconds": 3725.4,
    "measured_from_step": 0, "steps": 12, "epochs": 1.0, "flops": 1.5e12, "parameters": 1000, "trained_parameters": 10,
    "devices": {"number": 2, "name": "A Device"}, "libraries": {"torch": "2.9"}, "losses": STATE["log_history"][:1],
    "recipe": {"learning_rate": 6e-4, "datasets": ["org/data"], "bpr_negatives": "sum"},
}  # fmt: skip
ADAPTER = {"base_model_name_or_path": "org/base", "peft_type": "LORA", "r": 32, "lora_alpha": 16}


@pytest.fixture
def saved(tokenizer: Any, tmp_path: Path) -> Path:
    tiny_model(tokenizer).save_pretrained(tmp_path / "my-model")
    tokenizer.save_pretrained(tmp_path / "my-model")
    return tmp_path / "my-model"


def write(directory: Path, **files: Any) -> None:
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))


def code_of(card: Any, language: str = "python") -> str:
    found = re.search(rf"```{language}\n(.*?)```", str(card), re.DOTALL)
    assert found is not None
    return found[1]


def run_code(code: str) -> None:
    exec(compile(code, "card", "exec"), {"__name__": "card"})


def test_a_model_about_which_nothing_is_known(saved: Path) -> None:
    text = str(model_card(saved))
    assert "# my-model" in text and "`[RQ]`" in text and 'from_pretrained("my-model")' in text
    absent = ("## Training", "## Evaluation", "model-index", "base_model", "None", "{{", "co2", "### Compute")
    assert not [part for part in absent if part in text]


def test_what_was_recorded_is_told(saved: Path) -> None:
    write(saved, training_args=TRAINING, trainer_state=STATE, eval_results=RESULTS, adapter_config=ADAPTER)
    card = model_card(saved, datasets=["org/data", str(saved)], repo_id="org/name", notes="## Limits\n\nMany.")
    text = str(card)
    assert "LoRA adapter over `org/base`" in text and "LoRA (r = 32, alpha = 16)" in text
    assert "λr = 0.5" in text and "(scale = 20.0, negatives = sum)" in text and "@inproceedings{rendle2009bpr" in text
    recipe = {
        **{"contrastive_loss": "bpr", "bpr_negatives": "sum", "lambda_gen": 1.0, "lambda_ret": 0.5},
        **{"learning_rate": 6e-4, "num_hard_negatives": 2, "seed": 7},
    }
    assert yaml.safe_load(code_of(card, "yaml")) == recipe
    assert "| step | loss_gen | loss_ret |\n|---|---|---|\n| 1 | 2.5000 | 0.7500 |\n| 12 | 0.5000 | 0.2500 |\n" in text
    assert "| steps | 12 |" in text and "| floating-point operations | 1.50e+12 (estimated) |" in text
    assert "| recall@1 | 0.9124 |" in text and "runtime" not in text and "num_passages" not in text
    assert "## Limits" in text and "`org/data`, `my-model`" in text
    assert str(saved.parent) not in text and "somewhere" not in text  # no path of this machine
    card.save(saved / "README.md")
    data = ModelCard.load(saved / "README.md").data
    assert data.base_model == "org/base" and data.datasets == ["org/data"] and data.library_name == "transformers"
    assert metadata_load(saved / "README.md")["base_model_relation"] == "adapter"
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {
        "loss_gen": 0.4,
        "recall@1": 0.9124,
    }


def test_the_record_of_the_training(saved: Path) -> None:
    write(saved, training_run=RUN, training_args=TRAINING)
    card = model_card(saved)
    text = str(card)
    for part in (
        "model fine-tuned from `org/base`", "Data: `org/data`; 1,234 examples over 5,678 passages.",
        "Trained: 10 of 1,000 parameters.", "| hardware | 2 × A Device |", "| duration | 1:02:05 |", "| torch | 2.9 |",
        "| 1 | 2.5000 | 0.7500 |",
    ):  # fmt: skip
        assert part in text, part
    assert yaml.safe_load(code_of(card, "yaml")) == RUN["recipe"]
    data = card.data.to_dict()
    assert (data["base_model"], data["base_model_relation"], data["datasets"]) == (
        "org/base",
        "finetune",
        ["org/data"],
    )


def test_a_merged_model_names_its_base_and_its_method(saved: Path) -> None:
    write(saved.parent / "adapter", adapter_config=ADAPTER, training_run={**RUN, "measured_from_step": 4})
    card = model_card(saved, merged_from=saved.parent / "adapter")
    assert "model fine-tuned from `org/base` (a merged LoRA adapter)" in str(card)
    assert "LoRA (r = 32, alpha = 16) and the retrieval tokens' rows: 10 of 1,000 parameters" in str(card)
    assert "| duration | 1:02:05 (from step 4 on) |" in str(card)
    assert card.data.to_dict()["base_model_relation"] == "finetune"


def test_a_base_of_this_machine_is_no_base_of_the_hub(saved: Path) -> None:
    write(saved, training_run={**RUN, "base_model": "stage-1", "datasets": ["facts"]})
    card = model_card(saved)
    assert "fine-tuned from `stage-1`" in str(card) and "Data: `facts`" in str(card)
    assert {"base_model", "base_model_relation", "datasets"}.isdisjoint(card.data.to_dict())


def test_emissions_of_codecarbon(saved: Path) -> None:
    rows = ["emissions,country_name,cpu_model,gpu_model", "0.0012,Norway,A Processor,", "0.0008,Norway,A Processor,"]
    (saved / "emissions.csv").write_text("\n".join(rows))
    card = model_card(saved)
    assert card.data.to_dict()["co2_eq_emissions"] == {
        "emissions": 2.0, "source": "codecarbon", "training_type": "fine-tuning", "geographical_location": "Norway",
        "hardware_used": "A Processor",
    }  # fmt: skip
    assert "| CO₂ equivalent | 2.0 g (codecarbon) |" in str(card)


@pytest.mark.parametrize("default_index", [None, "./index"])
@pytest.mark.parametrize("task", ["multi_hop", "entity_linking"])
def test_its_code_runs_as_printed(
    base_tokenizer: Any,
    documents: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    task: str,
    default_index: str | None,
) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer, tokens=getattr(RetrievalTokens, task)())
    model.onegen_config.default_index = default_index
    model.set_onegen_config(model.onegen_config)
    model.generation_config.max_length = 96
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    if default_index:
        PassageIndex.build(model, tokenizer, documents, show_progress=False).save(tmp_path / "model" / "index")
    card = model_card(tmp_path / "model")
    code = code_of(card)
    assert ("PassageIndex.build" in code) == (default_index is None)
    tags = {"multi_hop": "retrieval-augmented-generation", "entity_linking": "entity-linking"}
    assert card.data.tags == ["onegen", tags[task]] and card.data.pipeline_tag == "text-generation"
    assert ("onegen-entity-linking" in code) == (task == "entity_linking") == ("[LK]" in str(card))
    monkeypatch.chdir(tmp_path)
    run_code(code)
    if task == "multi_hop":
        assert "[" in capsys.readouterr().out


def test_the_trainers_card(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(base_tokenizer, tmp_path / "run", max_steps=2, lr_scheduler_type="cosine")
    with pytest.raises(FileNotFoundError, match="call `save_model` before"):
        trainer.create_model_card()
    trainer.train()
    trainer.save_model()
    with pytest.warns(UserWarning, match="dataset_args is ignored"):
        trainer.create_model_card(
            language="en", license="mit", tags="trial", tasks=["question-answering"], finetuned_from="org/base",
            dataset_tags="org/data", model_name="name", dataset_args="dev",
        )  # fmt: skip
    card = ModelCard.load(tmp_path / "run/README.md")
    found = {name: card.data.to_dict()[name] for name in ("language", "license", "base_model", "datasets", "tags")}
    tags = ["onegen", "retrieval-augmented-generation", "trial", "question-answering"]
    assert found == {
        "language": "en", "license": "mit", "base_model": "org/base", "datasets": ["org/data"], "tags": tags
    }  # fmt: skip
    assert "# name" in card.text and "| 2 | " in card.text and "8 examples over 12 passages" in card.text
    arguments = TrlParser(OneGenTrainingArguments).parse_dict(
        {**yaml.safe_load(code_of(card, "yaml")), "use_cpu": True}
    )
    assert arguments[0].lr_scheduler_type == "cosine" and arguments[0].max_steps == 2


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    tiny_backbone().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no 'onegen' section"):
        model_card(tmp_path)


HOSTILE = "x`\n# Heading\n<script>alert(1)</script> | [click](https://evil.example) ![i](x) \x1b[2J"


def body_of(card: Any) -> str:
    return str(card).split("---\n", 2)[2]


def assert_harmless(body: str) -> None:
    """Nothing of [`HOSTILE`] is a heading, HTML, a link, a cell or an escape sequence; no code span is left open."""
    assert "\n# Heading" not in body and "\x1b" not in body
    outside = re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", body, flags=re.DOTALL))
    assert "`" not in outside
    assert "<script>" not in outside and "](https://evil" not in outside.replace("\\]", "")
    for row in (line for line in outside.splitlines() if line.startswith("|")):
        assert not re.search(r"(?<!\\)\|\s*\\?\[click", row)


def test_what_comes_from_an_index_of_strangers_is_text() -> None:
    names = ("model_id", "revision", "granularity", "metric", "factory")
    description = {
        **dict.fromkeys(names, HOSTILE), "passages": 3, "embeddings": 3, "dimension": 32,
        "libraries": {HOSTILE: HOSTILE},
    }  # fmt: skip
    body = body_of(index_card(description, "org/index"))
    assert_harmless(body)
    assert re.findall(r"^#+ .*", body, re.MULTILINE) == ["# index", "## Use"] and "&lt;script&gt;" in body


def test_an_index_without_a_factory_shows_its_backend() -> None:
    description = {"backend": "torch", "passages": 3, "embeddings": 3, "dimension": 32, "metric": "dot"}
    body = body_of(index_card({**description, "granularity": "passage"}, "org/index"))
    assert "| backend | `torch` |" in body and "None" not in body and "FAISS" not in body


def test_what_comes_from_a_model_of_strangers_is_text(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["onegen"]["tokens"] |= {"query": "<q>`# x", "generation": [HOSTILE]}
    (saved / "config.json").write_text(json.dumps(config))
    run = {**RUN, "base_model": HOSTILE, "datasets": [HOSTILE], "libraries": {HOSTILE: HOSTILE}}
    run |= {"recipe": {"system_prompt": "```\n# Heading\n<script>"}, "devices": {"number": 1, "name": HOSTILE}}
    write(saved, training_run=run, training_args=TRAINING, eval_results={f"eval_{HOSTILE}": 0.5})
    body = body_of(model_card(saved, repo_id="org/model", evaluated_on=HOSTILE))
    assert_harmless(body)
    assert "## Citation" in body and "λg" in body


def test_the_callers_own_notes_stay_markdown(saved: Path) -> None:
    assert "## Notes\n\n| a | b |" in str(model_card(saved, repo_id="org/model", notes="## Notes\n\n| a | b |"))
