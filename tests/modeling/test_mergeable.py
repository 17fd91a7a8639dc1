"""Adapters: a forward before saving equals the forward of the merged model that is loaded, or training is refused."""

from __future__ import annotations

import copy
import inspect
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import tiny_backbone, tiny_model
from support.training_setup import QUIET, dataset, trainer_for

from onegen_hf import OneGenForCausalLM, OneGenTrainer, OneGenTrainingArguments
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.modeling.auto import load_adapter
from onegen_hf.modeling.mergeable import merging_errors
from onegen_hf.training.adapter import add_adapter

IDS = torch.tensor([[5, 60, 7, 80, 400, 9, 402]])
ATTENTION: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"]}
MATRICES = ("embed_tokens", "lm_head")

ACCEPTED: dict[str, Any] = {
    "lora": lambda: LoraConfig(r=2, **ATTENTION),
    "dora": lambda: LoraConfig(r=2, use_dora=True, **ATTENTION),
    "rslora": lambda: LoraConfig(r=2, use_rslora=True, **ATTENTION),
    "pissa": lambda: LoraConfig(r=2, init_lora_weights="pissa", **ATTENTION),
    "trained biases": lambda: LoraConfig(r=2, bias="all", **ATTENTION),
    "all-linear": lambda: LoraConfig(r=2, target_modules="all-linear"),
    "one layer": lambda: LoraConfig(r=2, layers_to_transform=0, **ATTENTION),
    "own tokens": lambda: LoraConfig(r=2, trainable_token_indices=[7], **ATTENTION),
    "adalora": lambda: peft.AdaLoraConfig(total_step=10, **ATTENTION),
    "ia3": lambda: peft.IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "loha": lambda: peft.LoHaConfig(r=2, **ATTENTION),
    "lokr": lambda: peft.LoKrConfig(r=2, **ATTENTION),
    "vera": lambda: peft.VeraConfig(r=2, **ATTENTION),
    "oft": lambda: peft.OFTConfig(r=0, oft_block_size=4, **ATTENTION),
    "layer norms": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"]),
    "matrices": lambda: LoraConfig(r=2, modules_to_save=[*MATRICES], **ATTENTION),
    "embeddings": lambda: LoraConfig(r=2, modules_to_save=["embed_tokens"], **ATTENTION),
    "matrices by path": lambda: LoraConfig(r=2, modules_to_save=["model.embed_tokens", "lm_head"], **ATTENTION),
    "tied matrices": lambda: LoraConfig(r=2, modules_to_save=[*MATRICES], ensure_weight_tying=True, **ATTENTION),
}
UNTIED_ONLY: dict[str, Any] = {
    "head": lambda: LoraConfig(r=2, modules_to_save=["lm_head"], **ATTENTION),
    "lora on the head": lambda: LoraConfig(r=2, target_modules=["q_proj", "lm_head"]),
    "lora on the embeddings": lambda: LoraConfig(r=2, target_modules={"q_proj", "embed_tokens"}),
    "lora on both": lambda: LoraConfig(r=2, target_modules=["q_proj", *MATRICES]),
    "a regular expression": lambda: LoraConfig(r=2, target_modules=r".*(q_proj|lm_head)"),
}
TIED = {
    f"{name} ({kind})": (kind, config)
    for kind in ("llama_tied", "llama_untied")
    for name, config in {**ACCEPTED, **(UNTIED_ONLY if kind == "llama_untied" else {})}.items()
}
REFUSED: dict[str, tuple[Any, str]] = {
    "prompt tuning": (lambda: peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"), "virtual tokens"),
    "prefix tuning": (lambda: peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"), "virtual tokens"),
    "p-tuning": (lambda: peft.PromptEncoderConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"), "virtual tokens"),
    "adaption prompt": (lambda: peft.AdaptionPromptConfig(adapter_len=4, adapter_layers=1), "can't be merged"),
    "poly": (lambda: peft.PolyConfig(**ATTENTION), "PolyConfig.*can't be merged"),
    "lora bias": (lambda: LoraConfig(lora_bias=True, **ATTENTION), "can't be merged.*no bias"),
    "layers used twice": (
        lambda: LoraConfig(layer_replication=[(0, 2), (1, 2)], **ATTENTION), "weight is shared with model.layers",
    ),
    **{name: (config, "weight is shared with .*untie the head") for name, config in UNTIED_ONLY.items()},
    "head": (UNTIED_ONLY["head"], "names lm_head alone.*name model.embed_tokens too, or set ensure_weight_tying=True"),
    "tied lora": (
        lambda: LoraConfig(target_modules=["q_proj", "lm_head"], ensure_weight_tying=True), "weight is shared with",
    ),
}  # fmt: skip


def adapted(kind: str, config: Any, tokenizer: Any, directory: Path) -> PeftModel:
    """A model over a backbone on disk, with an adapter whose weights are random."""
    tiny_backbone(kind).save_pretrained(directory / "base")
    wrapped = add_adapter(OneGenForCausalLM.from_backbone(directory / "base", tokenizer), tokenizer, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return wrapped.eval()


@pytest.mark.parametrize("case", TIED)
def test_what_is_loaded_is_what_was_trained(case: str, base_tokenizer: Any, tmp_path: Path) -> None:
    kind, config = TIED[case]
    tokenizer = copy.deepcopy(base_tokenizer)
    model = adapted(kind, config(), tokenizer, tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the adapter saved in")
        save_adapter(model, tokenizer, tmp_path / "adapter")
    loaded = load_adapter(tmp_path / "adapter").eval()
    loaded.save_pretrained(tmp_path / "merged")
    again = OneGenForCausalLM.from_pretrained(tmp_path / "merged").eval()
    unmerged = load_adapter(tmp_path / "adapter", merge=False).eval()
    with torch.no_grad():
        expected = model(input_ids=IDS, retrieval_positions=[[4]])
        for other in (unmerged, loaded, again):
            found = other(input_ids=IDS, retrieval_positions=[[4]])
            torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(found.retrieval_embeddings, expected.retrieval_embeddings, rtol=1e-4, atol=1e-4)
        plain = OneGenForCausalLM.from_backbone(tmp_path / "base", copy.deepcopy(base_tokenizer)).eval()
        assert (plain(input_ids=IDS).logits - expected.logits).abs().max() > 1e-3  # the adapter does something


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_be_loaded_is_refused_before_training(case: str, base_tokenizer: Any, tmp_path: Path) -> None:
    config, message = REFUSED[case]
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer, "llama_tied")
    with torch.no_grad():
        expected = model(IDS).logits
    args = OneGenTrainingArguments(str(tmp_path / "run"), **QUIET)
    with pytest.raises(ValueError, match=message):
        OneGenTrainer(model, args, dataset(), documents=DOCUMENTS, processing_class=tokenizer, peft_config=config())
    if case != "layers used twice":
        with torch.no_grad():
            assert torch.equal(model(IDS).logits, expected)  # the caller's model is left as it was
        trainer_for(base_tokenizer, tmp_path / "other", model=model, peft_config=LoraConfig(r=2)).train()


def test_an_adapter_that_the_caller_put_on_is_checked_too(base_tokenizer: Any, tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = peft.get_peft_model(tiny_model(tokenizer), LoraConfig(target_modules=["lm_head"]))
    args = OneGenTrainingArguments(str(tmp_path), **QUIET)
    with pytest.raises(ValueError, match="targets lm_head, whose weight is shared with model.embed_tokens"):
        OneGenTrainer(model, args, dataset(), documents=DOCUMENTS, processing_class=tokenizer)


@pytest.mark.parametrize(
    ("kind", "settings", "rows"),
    [
        ("llama_untied", {"target_modules": ["q_proj"]}, {"model.embed_tokens", "lm_head"}),
        ("llama_untied", {"target_modules": ["q_proj"], "modules_to_save": [*MATRICES]}, None),
        ("llama_untied", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, {"lm_head"}),
        ("llama_untied", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, list),
        ("llama_untied", {"target_modules": r".*(q_proj|lm_head)"}, list),
        ("llama_untied", {"target_modules": r".*\.[hklmq]_proj"}, {"model.embed_tokens", "lm_head"}),
        ("llama_untied", {"target_modules": "all-linear"}, {"model.embed_tokens", "lm_head"}),
        ("llama_untied", {"target_modules": None}, {"model.embed_tokens", "lm_head"}),
        ("llama_untied", {"target_modules": ["q_proj", "lm_head"], "exclude_modules": ["lm_head"]}, dict),
        ("llama_tied", {"target_modules": ["q_proj"]}, list),
        ("llama_tied", {"target_modules": ["q_proj"], "modules_to_save": [*MATRICES]}, None),
        (
            "llama_tied",
            {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
            None,
        ),
    ],
)
def test_rows_are_trained_where_the_adapter_does_not(
    kind: str, settings: dict[str, Any], rows: Any, base_tokenizer: Any
) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    wrapped = add_adapter(tiny_model(tokenizer, kind), tokenizer, LoraConfig(r=2, **settings))
    chosen = wrapped.peft_config["default"].trainable_token_indices
    if inspect.isclass(rows):
        assert isinstance(chosen, rows)
    else:
        assert (None if chosen is None else set(chosen)) == rows
    names = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert any("embed_tokens" in name for name in names)
    loss = wrapped(input_ids=IDS, retrieval_positions=[[4]])
    (loss.logits.sum() + loss.retrieval_embeddings.sum()).backward()


def test_a_merge_that_changes_the_outputs_is_told(
    base_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = adapted("llama_untied", LoraConfig(r=2, **ATTENTION), tokenizer, tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert merging_errors(model.train(), IDS) == {} and model.training
    merge = peft.tuners.lora.Linear.merge

    def merged_twice(layer: Any, *args: Any, **kwargs: Any) -> None:
        merge(layer, *args, **kwargs)
        layer.get_base_layer().weight.data += 0.1

    monkeypatch.setattr(peft.tuners.lora.Linear, "merge", merged_twice)
    errors = merging_errors(model, IDS)
    assert set(errors) == {f"model.layers.{n}.self_attn.{part}_proj" for n in (0, 1) for part in "qv"}
    with pytest.warns(UserWarning, match=r"does not merge into what was trained.*load_adapter\(..., merge=False\)"):
        save_adapter(model, tokenizer, tmp_path / "adapter")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_run_that_trains_both_matrices(base_tokenizer: Any, tmp_path: Path) -> None:
    """The usual advice for new tokens: full embeddings and head beside LoRA."""
    tokenizer = copy.deepcopy(base_tokenizer)
    tiny_backbone("llama_untied").save_pretrained(tmp_path / "base")
    model = OneGenForCausalLM.from_backbone(tmp_path / "base", tokenizer)
    trainer = trainer_for(
        base_tokenizer, tmp_path / "run", model=model, max_steps=2,
        peft_config=LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=[*MATRICES]),
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    loaded = OneGenForCausalLM.from_pretrained(tmp_path / "adapter").eval()
    batch = trainer.data_collator(EXAMPLES)
    loaded.set_loss()
    with torch.no_grad():
        expected, found = trainer.model.eval()(**batch), loaded(**batch)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.retrieval_embeddings, expected.retrieval_embeddings, rtol=1e-4, atol=1e-5)
