"""Training: the joint objective, its scaling, evaluation, resuming."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import tiny_backbone, tiny_model
from support.training_setup import (
    LEARNING_RATE,
    QUIET,
    assert_same_weights,
    dataset,
    logged,
    trainer_for,
    weights,
)

from onegen_hf import OneGenDataCollator, OneGenForCausalLM, OneGenTrainer, OneGenTrainingArguments
from onegen_hf.data.documents import DocumentStore
from onegen_hf.data.encoding import encode_dataset
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.losses import BPRLoss
from onegen_hf.losses.causal_lm import causal_lm_loss, shifted_targets
from onegen_hf.training.evaluation import summarize_evaluation
from onegen_hf.training.trainer import no_passages


def gradient(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What one SGD step reveals."""
    return {name: (before[name] - after[name]) / LEARNING_RATE for name in before}


def by_hand(trainer: OneGenTrainer, parts: list[list[int]], ret: float) -> tuple[torch.Tensor, dict[str, Any]]:
    """
    Loss and gradient over the joined micro-batches: tokens and anchors divided by those of all parts, each part with
    its own passages, the router's loss averaged.
    """
    model = copy.deepcopy(trainer.model).train()
    collator = trainer.data_collator
    batches = [collator([EXAMPLES[n] for n in part]) for part in parts]
    tokens = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    anchors = sum(len(batch.get("retrieval_targets", [])) for batch in batches)
    total = torch.tensor(0.0)
    for batch in batches:
        out = model(**batch)
        total = total + causal_lm_loss(out.logits, shifted_targets(batch["labels"]), tokens)
        if "retrieval_targets" in batch and ret:
            own = out.retrieval_embeddings[batch["retrieval_positions"] >= 0]
            total = total + ret * BPRLoss(20.0)(own, out.passage_embeddings, batch["retrieval_targets"], anchors)
        if out.loss_router is not None:
            total = total + out.loss_router / len(batches)
    grads = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    named = zip(model.named_parameters(), grads, strict=True)
    return total.detach(), {n: torch.zeros_like(p) if g is None else g for (n, p), g in named}


def test_losses_fall_and_are_logged(base_tokenizer: Any, tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer)
    before = weights(model)
    args = OneGenTrainingArguments(
        str(tmp_path), **QUIET, learning_rate=1e-2, max_steps=12, per_device_train_batch_size=4, num_random_negatives=1
    )
    trainer = OneGenTrainer(model, args, dataset(), documents=DOCUMENTS, processing_class=tokenizer)
    trainer.train()
    entries = logged(trainer)
    assert len(entries) == 12
    for entry in entries:
        assert entry.loss == pytest.approx(entry.loss_gen + entry.loss_ret, rel=1e-4)
        assert 0.0 <= entry.retrieval_accuracy <= 1.0
    early, late = entries[:4], entries[-4:]
    for name in ("loss", "loss_gen", "loss_ret"):
        means = [sum(getattr(entry, name) for entry in part) / 4 for part in (early, late)]
        assert means[1] < 0.8 * means[0], (name, means)
    unchanged = [name for name, value in weights(trainer.model).items() if torch.equal(value, before[name])]
    assert not unchanged


def test_logs_are_means_over_the_steps_between(base_tokenizer: Any, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = dict(max_steps=4, per_device_train_batch_size=2)
    fine = trainer_for(base_tokenizer, tmp_path, **kwargs)
    fine.train()
    coarse = trainer_for(base_tokenizer, tmp_path, **kwargs, logging_steps=2)
    coarse.train()
    fine_entries, coarse_entries = logged(fine), logged(coarse)
    assert [entry.step for entry in coarse_entries] == [2, 4]
    for n, entry in enumerate(coarse_entries):
        pair = fine_entries[2 * n : 2 * n + 2]
        for name in ("loss_gen", "loss_ret"):
            assert getattr(entry, name) == pytest.approx(sum(getattr(p, name) for p in pair) / 2, rel=1e-4)


def test_first_logged_values(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(base_tokenizer, tmp_path, per_device_train_batch_size=8)
    out = copy.deepcopy(trainer.model).train()(**trainer.data_collator(EXAMPLES))
    trainer.train()
    (entry,) = logged(trainer)
    assert entry.loss_gen == pytest.approx(out.loss_gen.item(), rel=1e-4)
    assert entry.loss_ret == pytest.approx(out.loss_ret.item(), rel=1e-4)
    assert entry.retrieval_accuracy == pytest.approx(out.retrieval_accuracy.item())


# Scaling


def test_accumulation_equals_the_big_batch_for_the_language_model(base_tokenizer: Any, tmp_path: Path) -> None:
    results = []
    for size, steps in ((8, 1), (4, 2), (2, 4), (1, 8)):
        trainer = trainer_for(
            base_tokenizer,
            tmp_path,
            lambda_ret=0.0,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
        )
        before = weights(trainer.model)
        trainer.train()
        results.append((gradient(before, weights(trainer.model)), logged(trainer)[0]))
    for grads, entry in results[1:]:
        assert_same_weights(grads, results[0][0], atol=1e-4)
        assert entry.loss == pytest.approx(results[0][1].loss, rel=1e-5)
        assert entry.loss_gen == pytest.approx(results[0][1].loss_gen, rel=1e-5)
    parameters = [value.abs().max() for value in results[0][0].values()]
    assert min(parameters) > 1e-3  # the tolerance above means something


@pytest.mark.parametrize("architecture", ["llama_tied", "mixtral"])
@pytest.mark.parametrize("parts", [[[0, 1, 2, 3], [4, 5, 6, 7]], [[3, 6], [0, 7], [4, 5]]])
def test_accumulation_equals_the_sum_worked_out_by_hand(
    architecture: str, parts: list[list[int]], base_tokenizer: Any, tmp_path: Path
) -> None:
    trainer = trainer_for(
        base_tokenizer, tmp_path, [n for part in parts for n in part], architecture, lambda_ret=1.5,
        per_device_train_batch_size=len(parts[0]), gradient_accumulation_steps=len(parts),
    )  # fmt: skip
    total, expected = by_hand(trainer, parts, 1.5)
    before = weights(trainer.model)
    trainer.train()
    assert_same_weights(gradient(before, weights(trainer.model)), expected, atol=2e-4)
    (entry,) = logged(trainer)
    assert entry.loss == pytest.approx(total.item(), rel=1e-4)
    router = getattr(entry, "loss_router", 0.0)
    assert (router > 0) == (architecture == "mixtral")
    assert entry.loss == pytest.approx(entry.loss_gen + 1.5 * entry.loss_ret + router, rel=1e-4)


def test_an_incomplete_last_accumulation(base_tokenizer: Any, tmp_path: Path) -> None:
    # 6 examples in micro-batches of 2, accumulated over 2: the second step has one micro-batch only.
    trainer = trainer_for(
        base_tokenizer, tmp_path, range(6), max_steps=2, per_device_train_batch_size=2, gradient_accumulation_steps=2
    )
    expected = trainer_for(base_tokenizer, tmp_path, [4, 5], per_device_train_batch_size=2)
    trainer_first = trainer_for(
        base_tokenizer, tmp_path, range(4), per_device_train_batch_size=2, gradient_accumulation_steps=2
    )
    trainer_first.train()
    expected.model.load_state_dict(trainer_first.model.state_dict())
    expected.train()
    trainer.train()
    assert_same_weights(weights(trainer.model), weights(expected.model))


def test_batches_without_retrieval(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(base_tokenizer, tmp_path, [3, 6], per_device_train_batch_size=2)
    trainer.train()
    (entry,) = logged(trainer)
    assert math.isfinite(entry.loss) and not hasattr(entry, "loss_ret") and not hasattr(entry, "retrieval_accuracy")


def test_settings_reach_the_model_and_the_collator(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(
        base_tokenizer, tmp_path, contrastive_loss="info_nce", contrastive_scale=4.0, lambda_gen=0.0, lambda_ret=2.0,
        num_hard_negatives=2, num_random_negatives=3, max_length=40, data_seed=5,
    )  # fmt: skip
    assert type(trainer.model.contrastive_loss).__name__ == "InfoNCELoss"
    assert (trainer.model.contrastive_loss.scale, trainer.model.lambda_gen, trainer.model.lambda_ret) == (
        4.0,
        0.0,
        2.0,
    )
    collator = trainer.data_collator
    assert (collator.num_hard_negatives, collator.num_random_negatives, collator.seed) == (2, 3, 5)
    assert max(trainer.train_dataset["length"]) == 40


# Evaluation


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_evaluation_equals_brute_force(batch_size: int, base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(
        base_tokenizer, tmp_path, eval_dataset=dataset(), per_device_eval_batch_size=batch_size, eval_recall_at=[1, 3]
    )
    metrics = trainer.evaluate()
    model, tokenizer, config = trainer.model.eval(), trainer.processing_class, trainer.model.onegen_config

    # Every passage that an example names, one by one; every query token, one example at a time.
    store, encoder = DocumentStore(DOCUMENTS), PassageEncoder(tokenizer, config)
    named = {
        store.resolve(r)[0] for e in EXAMPLES for part in ("positives", "negatives") for own in e[part] for r in own
    }
    # A query token without positives brings no passage in, and d4 comes only with it or as a hard negative.
    embeddings = {}
    with torch.no_grad():
        for row in sorted(named):
            encoded = encoder.row(store[row])
            embeddings[row] = model(
                torch.tensor([encoded.input_ids]), retrieval_positions=[encoded.positions]
            ).retrieval_embeddings[0, 0]
        ranks, nll, tokens = [], 0.0, 0
        for example in EXAMPLES:
            encoded = trainer.data_collator.encode_example(example)
            ids, labels = torch.tensor([encoded["input_ids"]]), torch.tensor([encoded["labels"]])
            out = model(ids, retrieval_positions=[encoded["query_positions"]])
            scores = torch.log_softmax(out.logits[0, :-1], dim=-1)
            for position, label in enumerate(labels[0, 1:].tolist()):
                if label != -100:
                    nll, tokens = nll - scores[position, label].item(), tokens + 1
            for anchor, own in zip(out.retrieval_embeddings[0], example["positives"], strict=False):
                if own:
                    gold = {store.resolve(reference)[0] for reference in own}
                    order = sorted(
                        embeddings,
                        key=lambda row: -torch.nn.functional.cosine_similarity(anchor, embeddings[row], dim=0).item(),
                    )
                    ranks.append(
                        1 + min(order.index(row) - sum(o in gold for o in order[: order.index(row)]) for row in gold)
                    )
    assert len(ranks) == 7
    assert metrics["eval_num_passages"] == len(named)
    assert metrics["eval_loss_gen"] == pytest.approx(nll / tokens, rel=1e-4)
    assert metrics["eval_recall@1"] == pytest.approx(sum(rank <= 1 for rank in ranks) / 7)
    assert metrics["eval_recall@3"] == pytest.approx(sum(rank <= 3 for rank in ranks) / 7)
    assert metrics["eval_mrr"] == pytest.approx(sum(1 / rank for rank in ranks) / 7)
    if batch_size == 8:
        with torch.no_grad():
            out = model(**trainer.data_collator(EXAMPLES))
        assert metrics["eval_loss_ret"] == pytest.approx(out.loss_ret.item(), rel=1e-4)
        assert metrics["eval_loss"] == pytest.approx(out.loss.item(), rel=1e-4)


def test_evaluation_between_steps_leaves_training_alone(base_tokenizer: Any, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = dict(max_steps=3, per_device_train_batch_size=2)
    plain = trainer_for(base_tokenizer, tmp_path, **kwargs)
    plain.train()
    evaluated = trainer_for(
        base_tokenizer, tmp_path, **kwargs, eval_dataset={"a": dataset([0, 1]), "b": dataset([3, 6])},
        eval_strategy="steps", eval_steps=1,
    )  # fmt: skip
    evaluated.train()
    assert_same_weights(weights(evaluated.model), weights(plain.model), atol=0.0)
    assert [e.loss_gen for e in logged(evaluated)] == pytest.approx([e.loss_gen for e in logged(plain)])
    history = [entry for entry in evaluated.state.log_history if "eval_a_mrr" in entry]
    assert len(history) == 3
    assert not any("eval_b_mrr" in entry for entry in evaluated.state.log_history)  # nothing to retrieve there


def test_summarize_evaluation_by_hand() -> None:
    axes = torch.eye(3)
    records = [
        {"tokens": 3, "anchors": 1, "loss_gen": 6.0, "loss_ret": 2.0, "anchor_embeddings": axes[:1],
         "positives": [[10]], "passages": {10: axes[0], 20: axes[1]}},
        {"tokens": 1, "anchors": 0, "loss_gen": 2.0},
        {"tokens": 0, "anchors": 1, "loss_gen": float("nan"), "loss_ret": 1.0,
         "anchor_embeddings": torch.tensor([[1.0, 0.5, 0.2]]), "positives": [[20]],
         "passages": {20: axes[1], 30: axes[2]}},
    ]  # fmt: skip
    found = summarize_evaluation(records, [1, 2])
    expected = {"loss_gen": 2.0, "loss_ret": 1.5, "recall@1": 0.5, "recall@2": 1.0, "mrr": 0.75, "num_passages": 3.0}
    assert found == pytest.approx(expected)
    assert summarize_evaluation([], [1]) == {}


# Saving


def test_saved_model_loads_without_the_trainer(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(base_tokenizer, tmp_path)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    loaded = OneGenForCausalLM.from_pretrained(tmp_path / "saved")
    assert_same_weights(weights(loaded), weights(trainer.model))
    assert {"tokenizer.json", "training_args.json", "config.json"} <= {p.name for p in (tmp_path / "saved").iterdir()}
    assert not list((tmp_path / "saved").glob("*.bin"))  # no pickles
    # A path instead of a model continues from there.
    again = trainer_for(base_tokenizer, tmp_path, model=str(tmp_path / "saved"))
    assert_same_weights(weights(again.model), weights(trainer.model))


# Data


def test_a_stream_of_examples_equals_the_rows(base_tokenizer: Any, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = dict(max_steps=4, per_device_train_batch_size=3)
    rows = trainer_for(base_tokenizer, tmp_path, **kwargs)
    rows.train()
    stream = trainer_for(base_tokenizer, tmp_path, train_dataset=dataset().to_iterable_dataset(), **kwargs)
    stream.train()
    assert_same_weights(weights(stream.model), weights(rows.model))


def test_encode_dataset(tokenizer: Any) -> None:
    collator = OneGenDataCollator(tokenizer, DOCUMENTS)
    encoded = encode_dataset(dataset(), collator)
    assert set(encoded.column_names) == {
        "input_ids", "labels", "query_positions", "positives", "negatives", "queries", "length"
    }  # fmt: skip
    assert encoded["queries"][:3] == [["Who made Tin Boat?", "Ada Moll. Where was she born?"],
                                      ["Where was Ada Moll born?"], ["Who made it?"]]  # fmt: skip
    assert encoded[0] == collator.encode_example(EXAMPLES[0])
    assert encode_dataset(encoded, collator) is encoded
    assert encode_dataset(None, collator) is None
    assert encode_dataset({"a": dataset([1])}, collator)["a"].num_rows == 1
    with pytest.raises(ValueError, match="train_dataset has no examples"):
        encode_dataset(dataset().select([]), collator)


def test_no_passages_fit_the_forward(model: Any, tokenizer: Any) -> None:
    batch = OneGenDataCollator(tokenizer, DOCUMENTS)([EXAMPLES[6]])
    assert model(**batch, **{k: v for k, v in no_passages(batch["input_ids"]).items() if k not in batch}).loss_ret == 0


# Errors


def test_errors(model: Any, tokenizer: Any, base_tokenizer: Any, tmp_path: Path) -> None:
    args = OneGenTrainingArguments(str(tmp_path), **QUIET)
    with pytest.raises(TypeError, match="model is a LlamaForCausalLM, not a OneGenForCausalLM: load it with"):
        OneGenTrainer(tiny_backbone(), args, dataset(), documents=DOCUMENTS, processing_class=tokenizer)
    with pytest.raises(ValueError, match="processing_class is missing: pass the tokenizer"):
        OneGenTrainer(model, args, dataset(), documents=DOCUMENTS)
    with pytest.raises(ValueError, match="documents is missing: pass the corpus"):
        OneGenTrainer(model, args, dataset(), processing_class=tokenizer)
    with pytest.raises(ValueError, match="lacks the retrieval tokens"):
        OneGenTrainer(model, args, dataset(), documents=DOCUMENTS, processing_class=base_tokenizer)
    with pytest.raises(ValueError, match="example 'e0': 2 query tokens .* but 1 lists of positives"):
        wrong = dataset([0]).map(lambda row: {"positives": row["positives"][:1]})
        OneGenTrainer(model, args, wrong, documents=DOCUMENTS, processing_class=tokenizer)
    with pytest.raises(ValueError, match="no 'onegen' section"):
        tiny_backbone().save_pretrained(tmp_path / "plain")
        OneGenTrainer(str(tmp_path / "plain"), args, dataset(), documents=DOCUMENTS, processing_class=tokenizer)
