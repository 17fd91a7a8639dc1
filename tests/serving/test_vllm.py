"""
vLLM as an engine gives the pipeline's answers, and reads every position once.

vLLM can't be installed beside this package's own versions: the variable `ONEGEN_VLLM_PYTHON` names the interpreter of
its environment, which `make test-vllm` sets up.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from support.serving_setup import QUESTIONS, alone, asking_pipeline, assert_same_result
from support.tiny_models import VOCAB_SIZE
from transformers import AutoModelForCausalLM, LlamaConfig

from onegen_hf import OneGenForCausalLM
from onegen_hf.serving import GenerationRequest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(2000)]


@pytest.fixture(scope="module")
def rag(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of heads that vLLM's attention takes on a CPU; saved in `rag.directory`."""
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=3, pad_token_id=0,
        initializer_range=0.2, tie_word_embeddings=False,
    )  # fmt: skip
    tokenizer = copy.deepcopy(base_tokenizer)
    torch.manual_seed(0)
    model = OneGenForCausalLM.from_backbone(AutoModelForCausalLM.from_config(config).float(), tokenizer).eval()
    rag = asking_pipeline(tokenizer, model=model)
    rag.directory = tmp_path_factory.mktemp("vllm")
    rag.save_pretrained(rag.directory)
    return rag


def answers(rag: Any, tmp_path: Path, requests: list[dict[str, Any]], **job: Any) -> dict[str, Any]:
    """What the engine answers, in its own process."""
    job_file, result_file = tmp_path / "job.json", tmp_path / "result.json"
    job_file.write_text(json.dumps({"requests": requests, **job}))
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [
        os.environ["ONEGEN_VLLM_PYTHON"],
        "-m",
        "support.vllm_answers",
        str(rag.directory),
        job_file,
        result_file,
    ]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert result_file.exists(), ended.stdout[-3000:] + ended.stderr[-6000:]
    return dict(json.loads(result_file.read_text()))


def test_answers_are_those_of_the_pipeline_and_every_position_is_read_once(rag: Any, tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"k": 2, "max_hops": 1},
        {"retrieval": "never"},
        {"retrieval": "always", "max_hops": 2},
        {"threshold": 0.02, "max_hops": 2},
        {"max_new_tokens": 480, "k": 2},
    ]
    requests = [{"question": question, "max_new_tokens": 24, **kind} for kind in kinds for question in QUESTIONS]
    answered = answers(rag, tmp_path, requests, engine={"enforce_eager": True, "block_size": 32})
    for request, result in zip(requests, answered["results"], strict=True):
        expected = alone(rag, GenerationRequest(**request))
        result["usage"].pop("forward_calls"), expected["usage"].pop("forward_calls")
        assert_same_result(result, expected)
    assert sum(len(result["retrievals"]) for result in answered["results"]) > 30
    forwarded = sum(result["usage"]["forwarded_tokens"] for result in answered["results"])
    assert (answered["fed"], answered["embedded"]) == (forwarded, forwarded)
    assert answered["states_left"] == []


def test_the_processors_for_both_model_runners_do_the_same(tmp_path: Path) -> None:
    result_file = tmp_path / "result.json"
    command = [os.environ["ONEGEN_VLLM_PYTHON"], "-m", "support.vllm_runners", result_file]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert result_file.exists(), ended.stderr[-6000:]
    counts = json.loads(result_file.read_text())
    assert (counts["different"], counts["partial"]) == (0, 1)
    assert counts["states"] > 100 and counts["forced"] > counts["states"]


def test_little_room_delays_requests_and_cancelled_ones_leave(rag: Any, tmp_path: Path) -> None:
    # Until the end of a request reaches it, vLLM reads on behind a stop string: positions are not counted here.
    requests = [
        {"question": question, "max_new_tokens": 40, "max_hops": 2, "stop": ["e", "an"][: place % 3]}
        for place, question in enumerate(QUESTIONS)
    ]
    requests.append({"question": QUESTIONS[2], "max_new_tokens": 400, "retrieval": "never"})
    answered = answers(
        rag,
        tmp_path,
        requests,
        cancel=[6],
        engine={"enforce_eager": True, "block_size": 32, "num_gpu_blocks_override": 24},
    )
    for request, result in zip(requests[:6], answered["results"], strict=False):
        expected = alone(rag, GenerationRequest(**request))
        result["usage"].pop("forward_calls"), expected["usage"].pop("forward_calls")
        assert_same_result(result, expected)
    assert answered["results"][6] == {"refused": "cancelled"}
    assert answered["most_running"] < 6


def test_a_session_that_stands_still_is_sent_anew(rag: Any, tmp_path: Path) -> None:
    requests = [{"question": question, "max_new_tokens": 24} for question in QUESTIONS]
    # Nothing comes within so short a time, so each session is given up.
    job = {"engine": {"enforce_eager": True, "block_size": 32, "stall_seconds": 0.02}}
    answered = answers(rag, tmp_path, requests, **job)
    for request, result in zip(requests, answered["results"], strict=True):
        expected = alone(rag, GenerationRequest(**request))
        for usage in (result["usage"], expected["usage"]):
            del usage["forward_calls"], usage["forwarded_tokens"]
        assert_same_result(result, expected)
