"""Making, saving and loading models: a checkpoint stays that of the backbone."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from support.tiny_models import ARCHITECTURES, tiny_backbone, tiny_config, tiny_model
from transformers import AutoModelForCausalLM, PreTrainedModel

import onegen_hf.modeling.auto
from onegen_hf import OneGenConfig, OneGenForCausalLM, RetrievalTokens
from onegen_hf.modeling.auto import backbone_class, convert, onegen_class_for
from onegen_hf.modeling.tokenizers import load_tokenizer

IDS = torch.tensor([[5, 60, 7, 80, 400, 9], [300, 21, 22, 402, 24, 403]])


@pytest.fixture(scope="module")
def saved(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One checkpoint per architecture, each with its tokenizer."""
    root = tmp_path_factory.mktemp("saved")
    for architecture in ARCHITECTURES:
        tokenizer = copy.deepcopy(base_tokenizer)
        model = tiny_model(tokenizer, architecture, seed=3)
        model.save_pretrained(root / architecture)
        tokenizer.save_pretrained(root / architecture)
    return root


@pytest.fixture(scope="module")
def models(base_tokenizer: Any) -> dict[str, Any]:
    """The models in [`saved`], as they were in memory."""
    return {name: tiny_model(copy.deepcopy(base_tokenizer), name, seed=3) for name in ARCHITECTURES}


READER = """
import sys, torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from pathlib import Path
root, ids = Path(sys.argv[1]), torch.tensor(eval(sys.argv[2]))
logits = {}
for directory in sorted(root.iterdir()):
    model, info = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    found = {key: sorted(map(str, value)) for key, value in info.items() if value}
    assert not found, (directory, found)
    assert type(model).__module__.startswith("transformers.models."), type(model)
    with torch.no_grad():
        logits[directory.name] = model.eval()(ids).logits.contiguous()
assert len(AutoTokenizer.from_pretrained(root / "llama_tied")) == model.config.vocab_size
loaded = [name for name in sys.modules if name.split(".")[0] == "onegen_hf"]
assert not loaded, loaded
save_file(logits, sys.argv[3])
"""


def test_a_process_without_the_package_reads_every_checkpoint(
    saved: Path, models: dict[str, Any], tmp_path: Path
) -> None:
    result = tmp_path / "logits.safetensors"
    command = [sys.executable, "-c", READER, str(saved), str(IDS.tolist()), str(result)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    logits = load_file(result)
    assert set(logits) == set(ARCHITECTURES)
    for name, model in models.items():
        with torch.no_grad():
            torch.testing.assert_close(logits[name], model(IDS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_config_is_the_backbones_with_a_section(architecture: str, saved: Path) -> None:
    content = json.loads((saved / architecture / "config.json").read_text())
    plain = tiny_config(architecture)
    backbone = type(tiny_backbone(architecture)).__name__
    assert content["model_type"] == plain.model_type
    assert content["architectures"] == [backbone]
    assert OneGenConfig.from_dict(content["onegen"]) == OneGenConfig()
    assert content["auto_map"] == {
        "AutoConfig": "modeling_onegen.BackboneConfig",
        "AutoModelForCausalLM": f"modeling_onegen.OneGen{backbone}",
    }
    shim = (saved / architecture / "modeling_onegen.py").read_text()
    assert shim == (
        f"from onegen_hf import BackboneConfig  # noqa: F401\nfrom onegen_hf import OneGen{backbone}  # noqa: F401\n"
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_round_trip(architecture: str, saved: Path, models: dict[str, Any], tmp_path: Path) -> None:
    model, info = OneGenForCausalLM.from_pretrained(saved / architecture, output_loading_info=True)
    assert not any(info.values()), info
    original = models[architecture]
    assert type(model) is type(original) and isinstance(model, OneGenForCausalLM)
    assert model.onegen_config == original.onegen_config
    assert model.state_dict().keys() == original.state_dict().keys()
    with torch.no_grad():
        expected = original(IDS, retrieval_positions=[[4], [5]])
        found = model(IDS, retrieval_positions=[[4], [5]])
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.retrieval_embeddings, expected.retrieval_embeddings)
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert tied == bool(model.config.tie_word_embeddings)
    # Saved again, nothing has changed.
    model.save_pretrained(tmp_path)
    for name in ("config.json", "modeling_onegen.py"):
        assert (tmp_path / name).read_text() == (saved / architecture / name).read_text()


def test_backbones_class_reads_a_checkpoint_saved_by_the_concrete_class(saved: Path, tmp_path: Path) -> None:
    model = onegen_class_for(transformers.Qwen2ForCausalLM).from_pretrained(saved / "qwen2")
    assert isinstance(model, OneGenForCausalLM) and isinstance(model, transformers.Qwen2ForCausalLM)
    model.save_pretrained(tmp_path, remote_code=False)
    assert not (tmp_path / "modeling_onegen.py").exists()
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["Qwen2ForCausalLM"]


def test_only_the_main_process_writes(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, is_main_process=False)
    assert not (tmp_path / "modeling_onegen.py").exists()


def test_trust_remote_code_returns_our_class(
    saved: Path, models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    model = AutoModelForCausalLM.from_pretrained(saved / "llama_untied", trust_remote_code=True)
    assert type(model) is type(models["llama_untied"])
    assert model.onegen_config == OneGenConfig()
    # What was loaded so can be saved, pickled and used as any other.
    model.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_text() == (saved / "llama_untied" / "config.json").read_text()
    assert type(pickle.loads(pickle.dumps(model))) is type(model)
    plain = AutoModelForCausalLM.from_pretrained(saved / "llama_untied")
    assert type(plain) is transformers.LlamaForCausalLM


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pickle_and_deepcopy(architecture: str, models: dict[str, Any]) -> None:
    original = models[architecture]
    with torch.no_grad():
        expected = original(IDS, retrieval_positions=[[4], [5]]).retrieval_embeddings
        for model in (pickle.loads(pickle.dumps(original)), copy.deepcopy(original)):
            assert type(model) is type(original)
            assert model.onegen_config == original.onegen_config
            found = model(IDS, retrieval_positions=[[4], [5]]).retrieval_embeddings
            torch.testing.assert_close(found, expected)


def test_classes_are_made_on_demand_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(onegen_hf.modeling.auto, "OneGenStarcoder2ForCausalLM", raising=False)
    made = onegen_hf.OneGenStarcoder2ForCausalLM
    assert made is onegen_hf.modeling.auto.OneGenStarcoder2ForCausalLM
    assert made is onegen_class_for(transformers.Starcoder2ForCausalLM)
    assert issubclass(made, OneGenForCausalLM) and issubclass(made, transformers.Starcoder2ForCausalLM)
    assert onegen_class_for(made) is made
    assert made.__module__ == "onegen_hf"
    with pytest.raises(AttributeError, match="no attribute 'OneGenNonsenseForCausalLM'"):
        _ = onegen_hf.modeling.auto.OneGenNonsenseForCausalLM


def test_convert_changes_the_class_in_place() -> None:
    backbone = tiny_backbone("qwen3")
    weight = backbone.model.layers[0].self_attn.q_proj.weight
    with torch.no_grad():
        expected = backbone(IDS[:1, :4]).logits
    model = convert(backbone)
    assert model is backbone and convert(model) is model
    assert type(model).__name__ == "OneGenQwen3ForCausalLM"
    assert model.model.layers[0].self_attn.q_proj.weight is weight
    with torch.no_grad():
        torch.testing.assert_close(model(IDS[:1, :4]).logits, expected)


@pytest.mark.parametrize("kind", ["path", "str", "model"])
def test_from_backbone(kind: str, fresh_tokenizer: Any, tmp_path: Path) -> None:
    backbone = tiny_backbone("mistral")
    backbone.save_pretrained(tmp_path)
    start = {"path": tmp_path, "str": str(tmp_path), "model": backbone}[kind]
    settings = OneGenConfig(scale=7.0, max_inserted_tokens=9)
    model = OneGenForCausalLM.from_backbone(start, fresh_tokenizer, RetrievalTokens(query="[Q]"), settings)
    assert model.onegen_config.tokens.query == "[Q]"
    assert (model.onegen_config.scale, model.onegen_config.max_inserted_tokens) == (7.0, 9)
    assert OneGenConfig.of(model.config) == model.onegen_config
    assert settings.tokens.query == "[RQ]"  # the caller's object is left alone
    assert model.get_input_embeddings().weight.shape[0] == len(fresh_tokenizer) == 404
    model.check_tokenizer(fresh_tokenizer)


def test_keyword_arguments_reach_the_backbone(saved: Path, fresh_tokenizer: Any) -> None:
    model = OneGenForCausalLM.from_backbone(
        str(saved / "llama_tied"), fresh_tokenizer, dtype=torch.bfloat16, attn_implementation="eager"
    )
    assert model.dtype == torch.bfloat16 and model.config._attn_implementation == "eager"
    model = OneGenForCausalLM.from_pretrained(saved / "llama_tied", dtype=torch.float16)
    assert model.dtype == torch.float16


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}])
def test_device_map(saved: Path, device_map: Any) -> None:
    ids = torch.tensor([[5, 6, 400, 7]])
    plain = OneGenForCausalLM.from_pretrained(saved / "llama_untied")
    mapped = OneGenForCausalLM.from_pretrained(saved / "llama_untied", device_map=device_map)
    with torch.no_grad():
        expected, found = (model(ids, labels=ids, retrieval_positions=[[2]]) for model in (plain, mapped))
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.retrieval_embeddings, expected.retrieval_embeddings)
    assert mapped.generate(ids, max_new_tokens=3, do_sample=False).shape == (1, 7)


def test_no_section_and_no_tokens(tmp_path: Path) -> None:
    tiny_backbone().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="config.json has no 'onegen' section.*from_backbone.*pass `preset="):
        OneGenForCausalLM.from_pretrained(tmp_path)


def test_tokens_make_up_for_the_section(tmp_path: Path, fresh_tokenizer: Any) -> None:
    # As the paper's released checkpoints: trained rows, names of their own, no section.
    tokens = RetrievalTokens(
        query="[Question Representation]", document="[Document Fragment Representation]", continuation="[_CONTINUE_]"
    )
    tokens.add_to(fresh_tokenizer)
    backbone = tiny_backbone(vocab_size=len(fresh_tokenizer))
    backbone.save_pretrained(tmp_path / "plain")
    model = OneGenForCausalLM.from_pretrained(tmp_path / "plain", preset=tokens)
    assert model.onegen_config.tokens == tokens
    torch.testing.assert_close(model.get_input_embeddings().weight, backbone.get_input_embeddings().weight)
    model.check_tokenizer(fresh_tokenizer)
    model.save_pretrained(tmp_path / "ours")
    assert OneGenForCausalLM.from_pretrained(tmp_path / "ours").onegen_config.tokens == tokens


def test_tokens_override_those_of_the_section(saved: Path) -> None:
    tokens = RetrievalTokens(query="[Other]")
    model = OneGenForCausalLM.from_pretrained(saved / "gpt2", preset=tokens)
    assert model.onegen_config.tokens == OneGenConfig.of(model.config).tokens == tokens


def test_check_tokenizer(model: Any, tokenizer: Any, base_tokenizer: Any) -> None:
    model.check_tokenizer(tokenizer)
    with pytest.raises(ValueError, match="lacks the retrieval tokens"):
        model.check_tokenizer(base_tokenizer)
    tokenizer.add_tokens(["one more"])
    with pytest.raises(ValueError, match="ids up to 404 and the model 404 embedding rows"):
        model.check_tokenizer(tokenizer)


def test_no_causal_language_model(tmp_path: Path, fresh_tokenizer: Any) -> None:
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model_type 'vit' has no causal language model in transformers"):
        OneGenForCausalLM.from_backbone(tmp_path, fresh_tokenizer)
    with pytest.raises(ValueError, match="model_type 'vit' has no causal language model"):
        OneGenForCausalLM.from_pretrained(tmp_path)


def test_backbone_class() -> None:
    assert backbone_class(tiny_config("phi3"), "x") is transformers.Phi3ForCausalLM
    assert issubclass(backbone_class(tiny_config("gpt2"), "x"), PreTrainedModel)


def test_any_decoder_works_listed_or_not(fresh_tokenizer: Any, tmp_path: Path) -> None:
    config = transformers.Starcoder2Config(
        vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=1, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    backbone = AutoModelForCausalLM.from_config(config)
    model = OneGenForCausalLM.from_backbone(backbone, fresh_tokenizer).eval()
    model.save_pretrained(tmp_path)
    again = OneGenForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(IDS, retrieval_positions=[[4], [5]]).retrieval_embeddings
        torch.testing.assert_close(again(IDS, retrieval_positions=[[4], [5]]).retrieval_embeddings, expected)


def test_load_tokenizer_pads_on_the_left(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.padding_side == "left" and loaded.pad_token == loaded.eos_token == "<|im_end|>"
