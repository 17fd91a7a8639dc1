"""Training runs that differ in one thing: what each changes, what is measured, and what a pipeline is asked."""

from __future__ import annotations

import copy
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import tiny_backbone, tiny_model
from transformers import LlamaForCausalLM

from experiments import against_pipeline, interference, variants
from experiments.study import VARIANTS, Setup, StudyData, merged_start, score, side_by_side
from experiments.study.experts import upcycle
from experiments.study.gradients import GradientCosines, by_layer
from experiments.study.probes import recall_by_layer
from experiments.study.retrievers import Bm25Retriever, pairs_of, pipeline_decoder
from experiments.study.training import finished_training, freeze_passages
from onegen_hf import OneGenConfig, OneGenDataCollator, OneGenRagPipeline, OneGenTrainingArguments, PassageIndex
from onegen_hf.evaluation import evaluate_retrieval


@pytest.fixture
def data() -> StudyData:
    documents, examples = Dataset.from_list(DOCUMENTS), Dataset.from_list(EXAMPLES)
    return StudyData(documents, examples, examples, documents)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_names_arguments_of_the_trainer(name: str, tmp_path: Path) -> None:
    OneGenTrainingArguments(str(tmp_path), use_cpu=True, bf16=False, **VARIANTS[name].options)


def test_an_upcycled_model_computes_what_the_dense_one_does() -> None:
    dense = tiny_backbone()
    assert type(dense) is LlamaForCausalLM
    sparse = upcycle(dense, experts=4)
    ids = torch.arange(10, 30).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(sparse(input_ids=ids).logits, dense(input_ids=ids).logits, rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in sparse.parameters()) > sum(p.numel() for p in dense.parameters())
    with pytest.raises(ValueError, match="experts=1 must be at least 2"):
        upcycle(dense, experts=1)
    with pytest.raises(TypeError, match="only a LlamaForCausalLM"):
        upcycle(sparse, experts=4)


def test_frozen_passages_come_from_the_other_model_and_queries_do_not(tokenizer: Any) -> None:
    model, frozen = tiny_model(tokenizer, seed=0), tiny_model(tokenizer, seed=1)
    own = copy.deepcopy(model)
    freeze_passages(model, frozen, tokenizer)
    passages = torch.tensor([[7, 8, tokenizer.convert_tokens_to_ids("[RD]")]])
    queries = torch.tensor([[7, 8, tokenizer.convert_tokens_to_ids("[RQ]")]])
    where = torch.tensor([[2]])
    assert torch.equal(model.embed(passages, None, where), frozen.embed(passages, None, where))
    assert not model.embed(passages, None, where).requires_grad
    assert torch.equal(model.embed(queries, None, where), own.embed(queries, None, where))
    assert model.embed(queries, None, where).requires_grad


def test_gradients_are_compared_layer_by_layer() -> None:
    names = ["model.layers.0.a", "model.layers.0.b", "model.layers.1.a", "embed"]
    one = [torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([2.0]), None]
    other = [torch.tensor([0.0]), torch.tensor([3.0]), torch.tensor([-2.0]), torch.tensor([5.0])]
    found = by_layer(names, one, other)
    assert {layer: [part.tolist() for part in both] for layer, both in found.items()} == {
        "0": [[1.0, 0.0], [0.0, 3.0]], "1": [[2.0], [-2.0]], "outside": [[0.0], [5.0]],
    }  # fmt: skip


def test_measuring_gradients_leaves_none_behind(tokenizer: Any, data: StudyData, tmp_path: Path) -> None:
    model = tiny_model(tokenizer).train()
    batch = OneGenDataCollator(tokenizer, data.store(), model.onegen_config)([EXAMPLES[0], EXAMPLES[1]])
    record = GradientCosines([batch], [0], tmp_path / "gradients.json")._measure(model)
    assert set(record) == {"outside", *map(str, range(model.config.num_hidden_layers))}
    assert all(-1 <= cosine <= 1 and ratio > 0 for cosine, ratio in record.values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_last_layer_retrieves_as_the_model_does(tokenizer: Any, data: StudyData) -> None:
    model = tiny_model(tokenizer)
    index = PassageIndex.build(model, tokenizer, data.searched, show_progress=False)
    found = evaluate_retrieval(model, tokenizer, index, data.questions, k=1, show_progress=False)
    recall = recall_by_layer(model, tokenizer, data, batch_size=3)
    assert len(recall) == model.config.num_hidden_layers + 1
    single = [row for row in EXAMPLES if all(len(hop) <= 1 for hop in row["positives"])]
    if len(single) == len(EXAMPLES):  # with several positives recall@1 is less than the share of hits
        assert recall[-1] == pytest.approx(found.results["retrieved"].all.metrics["recall@1"].value, abs=1e-4)


def test_a_pipeline_is_asked_with_the_question_written_last(tokenizer: Any, data: StudyData) -> None:
    asked: list[str] = []

    class Listening(Bm25Retriever):
        def search(self, texts: Any, k: int) -> Any:
            asked.extend(texts)
            return super().search(texts, k)

    model = tiny_model(tokenizer)
    query_token = tokenizer.convert_tokens_to_ids("[RQ]")
    model.generation_config.sequence_bias = [[[query_token], 5.0], [[tokenizer.eos_token_id], 1.0]]
    index = PassageIndex.build(model, tokenizer, data.searched, show_progress=False)
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index)
    decoder = pipeline_decoder(Listening(list(data.searched_store())))
    prompt = rag.preprocess("Who made Tin Boat?")["prompt"]
    listening = decoder(index, tokenizer, model.onegen_config, max_hops=2)
    row = rag.engine.answer([prompt], listening, max_new_tokens=12, do_sample=False)[0]
    told = rag.describe(row)["retrievals"]
    assert asked == [retrieval["query"] for retrieval in told] and len(asked) == 2


def test_pairs_without_hard_negatives(data: StudyData) -> None:
    plain = data.train.map(lambda example: {"negatives": [[] for _ in example["negatives"]]})
    pairs = pairs_of(plain, data)
    assert set(pairs.column_names) == {"anchor", "positive"}
    assert pairs["anchor"] == pairs_of(data.train, data)["anchor"]


def test_pairs_are_the_questions_with_their_passages(data: StudyData) -> None:
    pairs = pairs_of(data.train, data)
    assert set(pairs.column_names) == {"anchor", "positive", "negative"}
    texts = {f"{document['title']}\n{' '.join(document['sentences'])}" for document in DOCUMENTS}
    assert len(pairs) > 0
    for pair in pairs:
        assert pair["positive"] in texts and pair["negative"] in texts and "\n" not in pair["anchor"]


def test_a_model_is_scored_with_its_intervals(tokenizer: Any, data: StudyData, tmp_path: Path) -> None:
    model = tiny_model(tokenizer)
    found = score(model, tokenizer, data, tmp_path, batch_size=4)
    assert found.perplexity > 1.0
    for scores in (found.retrieval, found.answers, found.gold_passages):
        assert scores and all(low <= value <= high for value, low, high in scores.values())
    assert score(model, tokenizer, data, tmp_path, batch_size=4) == found, "a finished measurement is taken up"


def test_contenders_answer_every_question(tokenizer: Any, data: StudyData, tmp_path: Path) -> None:
    model = tiny_model(tokenizer)
    index = PassageIndex.build(model, tokenizer, data.searched, show_progress=False)
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index)
    decoder = pipeline_decoder(Bm25Retriever(list(data.searched_store())))
    scores, f1 = against_pipeline.answer(rag, data, tmp_path, decoder, gold=True, batch_size=4)
    assert set(scores) == {"retrieved", "gold_passages"}
    assert len(f1) == len(data.questions)
    assert scores["retrieved"]["f1"][0] == pytest.approx(sum(f1) / len(f1), abs=1e-4)


def test_runs_of_other_settings_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "RESULTS", tmp_path)
    assert variants.known_runs("variants", {"examples": 8}) == {}
    (tmp_path / "variants.json").write_text(json.dumps({"settings": {"examples": 8}, "runs": {"base, seed 0": {}}}))
    assert variants.known_runs("variants", {"examples": 8}) == {"base, seed 0": {}}
    assert variants.known_runs("variants", {"examples": 9}) == {}


@pytest.mark.slow
def test_tasks_are_done_in_processes_of_their_own() -> None:
    tasks = [(2, 3), (4, 5)]
    assert list(side_by_side(math.pow, tasks, processes=1)) == [((2, 3), 8), ((4, 5), 1024)]
    assert sorted(side_by_side(math.pow, tasks, processes=2)) == [((2, 3), 8), ((4, 5), 1024)]
    results = side_by_side(math.sqrt, [(-1,), (4,)], processes=2)
    assert next(results) == ((4,), 2)
    with pytest.raises(ValueError):
        next(results)
    (own,) = {found for _, found in side_by_side(os.getpid, [()], processes=2)}
    assert own != os.getpid()


def test_scores_of_several_seeds_are_averaged() -> None:
    def run(value: float) -> dict[str, Any]:
        parts = {part: {"f1": [value, 0.0, 1.0]} for part in ("retrieval", "answers", "gold_passages")}
        return {"perplexity": 1 + value, **parts}

    found = variants.of_seeds({"base, seed 0": run(0.25), "base, seed 3": run(0.75), "bpr_sum, seed 0": run(0.5)})
    averaged = {"f1": [0.25, 0.5, 0.75]}
    assert found == {
        "base": {
            "seeds": 2,
            "perplexity": [1.25, 1.5, 1.75],
            **dict.fromkeys(("retrieval", "answers", "gold_passages"), averaged),
        }
    }


def test_differences_of_seeds_are_paired_by_question() -> None:
    one = {against_pipeline.ONE_PASS: [1.0, 0.0, 0.5], "BM25": [0.0, 0.0, 0.5]}
    other = {against_pipeline.ONE_PASS: [1.0, 1.0, 0.5], "BM25": [0.0, 1.0, 0.5]}
    found = against_pipeline.of_seeds([one, other])
    assert found["f1"] == {against_pipeline.ONE_PASS: [0.5, 0.6667, 0.8333], "BM25": [0.1667, 0.3333, 0.5]}
    value, low, high = found["points_of_f1_ahead_of"]["BM25"]
    assert value == 33.33 and low == 0 and high == 100


def test_a_finished_training_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trained.json"
    facts = {"examples": 8, "examples_per_step": 4, "embedded_tokens": 64, "inserted_tokens": 128, "minutes": 3}
    path.write_text(json.dumps(facts))
    size = Setup("backbone", "float32", "cpu", 8, 4, 64, 128).size(VARIANTS["base"])
    assert finished_training(path, size) == facts
    with pytest.raises(ValueError, match=r"\(examples_per_step 4, not 2; embedded_tokens 64, not 256\): name another"):
        finished_training(path, size | {"examples_per_step": 2, "embedded_tokens": 256})
    path.write_text(json.dumps({**facts, "backbone": "another"}))
    with pytest.raises(ValueError, match=r"\(backbone another, not backbone\): name another"):
        finished_training(path, size)


def test_runs_start_from_a_checkpoint_with_its_tokens_and_settings(tokenizer: Any, tmp_path: Path) -> None:
    settings = OneGenConfig(system_prompt="Look it up.", default_index="./index", max_embedded_tokens=9)
    model = tiny_model(tokenizer, onegen_config=settings)
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    backbone = merged_start(str(tmp_path / "checkpoint"), tmp_path / "start")
    found, own_tokenizer = Setup(backbone, "float32", "cpu", 8, 4, 20, 30).untrained(VARIANTS["base"], seed=0)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value)
    assert own_tokenizer.get_vocab() == tokenizer.get_vocab()
    expected = replace(settings, default_index=None, max_embedded_tokens=20, max_inserted_tokens=30)
    assert found.onegen_config == expected


@pytest.mark.parametrize(
    ("program", "options"),
    [
        pytest.param(
            variants,
            ["--variants", "base", "query_token_only", "mixture_of_experts"],
            marks=pytest.mark.slow,
            id="variants",
        ),
        pytest.param(against_pipeline, ["--seeds", "0", "1"], marks=pytest.mark.slow, id="against_pipeline"),
        pytest.param(interference, [], marks=pytest.mark.slow, id="interference"),
    ],
)
def test_quick(program: Any, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (variants, program):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    name = program.NAME
    monkeypatch.setattr("sys.argv", [name, "--quick", "--out", str(tmp_path / "out"), *options])
    program.main()
    assert json.loads((tmp_path / "results" / f"{name}_quick.json").read_text())["settings"]["examples"] == 8
    assert (tmp_path / "results" / f"{name}_quick.svg").is_file()
