"""What the programs on the built-in checkpoint compare, on tiny models: the same texts, and the counts that follow."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.decoding_setup import PROMPTS, Setup
from support.evaluation_setup import pipeline, repository, rows

from benchmarks import drafts, quality, throughput
from benchmarks.alternatives import ALTERNATIVES, Components
from benchmarks.one_pass import Cell, compare, same_ids
from onegen_hf.evaluation import evaluate_rag
from onegen_hf.modeling.int8 import quantize_for_cpu

OPTIONS: dict[str, Any] = {"max_new_tokens": 48, "gold_passages": True, "show_progress": False}


def test_batches_answer_what_single_questions_do() -> None:
    questions = [row["question"] for row in rows([0, 1, 4])]
    found = throughput.compare(pipeline(), questions, [1, 3], repeats=2)
    assert found[3]["same_texts"]
    assert found[1]["times_batch_1"] == [1.0, 1.0, 1.0]
    low, middle, high = found[3]["times_batch_1"]
    assert 0 < low <= middle <= high


def test_quality_is_that_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "RESULTS", tmp_path)
    monkeypatch.setattr(quality, "evaluate", lambda _: evaluate_rag(pipeline(), rows(), tmp_path / "run", **OPTIONS))
    monkeypatch.setattr("sys.argv", ["quality", "--data", str(repository())])
    quality.main()
    result = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    report = json.loads((tmp_path / "run/report.json").read_text(encoding="utf-8"))
    measured = report["results"]["retrieved"]["all"]["metrics"]
    assert result["retrieved"]["all"]["exact_match"] == pytest.approx(measured["exact_match"]["value"], abs=1e-4)
    assert result["retrieved"]["2 hops"]["recall@1_per_hop"] == 1.0
    assert set(result["gold_passages"]["all"]) >= {"questions", "exact_match", "f1"}


def test_drafts_write_the_same_text(llama: Setup) -> None:
    contenders = [drafts.Contender("bfloat16", one_pass=False)]
    contenders += [drafts.Contender(dtype, True, number) for dtype in ("float32", "int8") for number in (0, 4)]
    pieces = []
    for prompt in PROMPTS[:2]:
        ids = llama.tokenizer(prompt, return_tensors="pt")["input_ids"]
        written = llama.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
            eos_token_id=[llama.query_token, llama.tokenizer.eos_token_id],
        )[0, ids.shape[1] :].tolist()  # fmt: skip
        pieces.append(drafts.Piece(ids[0].tolist(), written))
    models = {
        "float32": llama.model,
        "bfloat16": copy.deepcopy(llama.model).bfloat16(),
        "int8": quantize_for_cpu(copy.deepcopy(llama.model)),
    }
    found = drafts.compare(models, llama.tokenizer, contenders, pieces, repeats=1)
    assert list(found) == [contender.name for contender in contenders]
    assert found["one pass, float32"]["tokens_per_forward"] == 1.0
    assert found["one pass, float32, 4 drafts"]["tokens_per_forward"] >= 1.0
    assert found["one pass, float32"]["same_pieces"] == found["one pass, float32, 4 drafts"]["same_pieces"]
    assert found[drafts.BASELINE]["times_as_fast_as_the_baseline"] == [1.0, 1.0, 1.0]


def test_one_pass_forwards_less_than_re_reading(components: Components) -> None:
    alternatives = {name: make(components) for name, make in ALTERNATIVES.items()}
    found = compare(components, alternatives, Cell(prompt_tokens=60, hops=2, batch_size=2), repeats=2)
    tokens = found["forwarded_tokens"]
    assert tokens["re_reading"]["language_model"] > tokens["one_pass"]["language_model"]
    assert tokens["pipeline"]["language_model"] == tokens["one_pass"]["language_model"]
    assert set(found["times_one_pass"]) == set(ALTERNATIVES) - {"one_pass"}
    for low, middle, high in found["times_one_pass"].values():
        assert 0 < low <= middle <= high
    free = {name: alternatives[name] for name in ("one_pass", "two_pass", "re_reading")}
    assert same_ids(components, free, questions=2) == {"two_pass": "2 of 2", "re_reading": "2 of 2"}
