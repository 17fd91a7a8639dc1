"""A batch in chunks makes the step of the batch in one piece, and keeps the activations of one chunk."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from support.fixed_teacher import FixedTeacher
from support.sample_corpus import build_tokenizer
from support.training_setup import assert_same_weights, logged, trainer_for, weights
from support.two_processes import run_together
from torch import Tensor, nn

from onegen_hf.training.gradient_cache import GradientCache, RandomState, cut_into_chunks, without_head
from onegen_hf.training.trainer import OneGenTrainer

LORA: dict[str, Any] = {"r": 2, "target_modules": ["q_proj", "down_proj"]}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "bpr": {},
    "bpr sum": {"bpr_negatives": "sum", "lambda_gen": 0.5},
    "info_nce": {"contrastive_loss": "info_nce", "lambda_ret": 0.5},
    "info_nce symmetric": {"contrastive_loss": "info_nce", "info_nce_symmetric": True},
    "two steps": {"max_steps": 2, "per_device_train_batch_size": 4},
    "accumulation": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
    "activation checkpointing": {"gradient_checkpointing": True},
    "sentences": {"sentences": True},
    "matryoshka": {"matryoshka_dims": [8, 20]},
    "matryoshka symmetric": {"contrastive_loss": "info_nce", "info_nce_symmetric": True, "matryoshka_dims": [1]},
    "distillation": {"teacher": True, "lambda_distill": 0.5},
    "distillation alone": {"teacher": True, "lambda_ret": 0.0, "distill_temperature": 1.0},
    "matryoshka and distillation of sentences": {"teacher": True, "matryoshka_dims": [8], "sentences": True},
    "clipping": {"max_grad_norm": 0.1},
}

WITH_ADAPTER = ("info_nce symmetric", "accumulation", "matryoshka and distillation of sentences")
"""Of an adapter too, in every run."""


def make(tokenizer: Any, directory: Path, case: str, lora: bool = False, **settings: Any) -> OneGenTrainer:
    options = {"per_device_train_batch_size": 8, **OBJECTIVES[case], **settings}
    sentences, teacher = options.pop("sentences", False), options.pop("teacher", False)
    torch.manual_seed(0)
    if lora:
        options["peft_config"] = LoraConfig(**LORA)
    trainer = trainer_for(tokenizer, directory, **options)
    if sentences:
        trainer.data_collator.config.granularity = "sentence"
    if teacher:
        trainer.data_collator.teacher = FixedTeacher()
    return trainer


@pytest.mark.parametrize(
    ("case", "size", "lora"),
    [
        *((case, 3, False) for case in OBJECTIVES),
        *(pytest.param(case, 3, True, marks=[pytest.mark.slow] * (case not in WITH_ADAPTER)) for case in OBJECTIVES),
        ("bpr", 1, False),
        ("bpr", 100, True),
    ],
)
def test_equals_the_batch_in_one_piece(case: str, size: int, lora: bool, base_tokenizer: Any, tmp_path: Path) -> None:
    whole, chunked = (
        make(base_tokenizer, tmp_path, case, lora, contrastive_chunk_size=chunk_size) for chunk_size in (None, size)
    )
    before = weights(whole.model)
    assert_same_weights(before, weights(chunked.model), atol=0.0)
    whole.train()
    chunked.train()
    expected, found = weights(whole.model), weights(chunked.model)
    assert max((before[name] - value).abs().max().item() for name, value in expected.items()) > 1e-4
    # Plain SGD with a learning rate of 0.01: gradients equal to 1e-5.
    assert_same_weights(found, expected)
    for ours, theirs in zip(logged(chunked), logged(whole), strict=True):
        for name in ("loss", "loss_gen", "loss_ret", "retrieval_accuracy", "grad_norm"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-4), name
        assert hasattr(ours, "loss_distill") == ("distillation" in case)
        if "distillation" in case:
            assert ours.loss_distill == pytest.approx(theirs.loss_distill, rel=1e-4) and ours.loss_distill > 0.01


def test_dropout_is_the_same_in_both_forwards(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = make(base_tokenizer, tmp_path, "info_nce", peft_config=LoraConfig(lora_dropout=0.5, **LORA))
    model = trainer.model.train()
    for parameter in model.parameters():  # a fresh adapter adds nothing, so that its dropout would not show
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(8)])
    counts = {"num_items_in_batch": 10, "num_anchors_in_batch": 5}
    torch.manual_seed(3)
    outputs = GradientCache(3, backward=lambda loss: loss.backward())(model, model.get_base_model(), batch, **counts)
    outputs.loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    after = torch.rand(1)

    # The same chunks with the same dropout, all of whose activations are kept.
    model.zero_grad()
    torch.manual_seed(3)
    expected_loss = reference_loss(model, batch, 3, counts)
    expected_loss.backward()
    assert outputs.loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    assert_same_weights(found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, atol=1e-5)
    # The second forwards draw nothing from the generator that the run goes on with.
    assert torch.equal(torch.rand(1), after)


def reference_loss(model: Any, batch: dict[str, Tensor], size: int, counts: dict[str, int]) -> Tensor:
    joint = model.get_base_model()
    losses, parts = [], {}
    tokens = size * max(batch["input_ids"].shape[1], batch["passage_input_ids"].shape[1])
    rows = cut_into_chunks(
        batch["input_ids"], batch["attention_mask"], batch["retrieval_positions"], tokens, batch["labels"]
    )
    passages = cut_into_chunks(
        batch["passage_input_ids"], batch["passage_attention_mask"], batch["passage_retrieval_positions"], tokens
    )
    assert len(rows) > 1 and len(passages) > 1
    for name, chunks in (("retrieval_positions", rows), ("passage_retrieval_positions", passages)):
        embeddings = {}
        for chunk in chunks:
            if chunk.labels is None:
                output = model(**chunk.inputs, **without_head(chunk.inputs["input_ids"]))
            else:
                output = model(**chunk.inputs, labels=chunk.labels, num_items_in_batch=counts["num_items_in_batch"])
                losses.append(output.loss)
            embeddings |= dict(zip(chunk.rows.tolist(), output.retrieval_embeddings, strict=True))
        parts[name] = torch.stack([embeddings[row] for row in range(len(embeddings))])[batch[name] >= 0]
    found = joint.contrast(
        *parts.values(), batch["retrieval_targets"], batch["passage_keys"], counts["num_anchors_in_batch"]
    )
    return torch.stack([*losses, joint.lambda_ret * found["loss_ret"]]).sum()


class LiveActivations:
    """The bytes that autograd keeps for the backward, at most, while the block runs."""

    def __enter__(self) -> LiveActivations:
        self.peak = self.now = 0
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept.tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.hooks.__exit__(*exception)

    def _pack(self, tensor: Tensor) -> Any:
        class Kept:
            pass

        kept, size = Kept(), tensor.numel() * tensor.element_size()
        kept.tensor = tensor  # type: ignore[attr-defined]
        weakref.finalize(kept, self._release, size)
        self.now += size
        self.peak = max(self.peak, self.now)
        return kept

    def _release(self, size: int) -> None:
        self.now -= size


@pytest.mark.parametrize("case", ["bpr", "info_nce symmetric"])
def test_memory_does_not_grow_with_the_batch(case: str, base_tokenizer: Any, tmp_path: Path) -> None:
    def peak(copies: int, chunk_size: int | None) -> int:
        trainer = make(base_tokenizer, tmp_path, case, contrastive_chunk_size=chunk_size)
        batch = trainer.data_collator([trainer.train_dataset[n] for n in range(8)] * copies)
        trainer._anchors_in_batch = torch.tensor(10)
        trainer.current_gradient_accumulation_steps = 1
        with LiveActivations() as live:
            loss = trainer.compute_loss(trainer.model.train(), batch, num_items_in_batch=100)
            loss.backward()
        return live.peak

    assert peak(8, None) > 3 * peak(1, None)
    # What grows is the table of similarities, which is small beside the activations of a model.
    assert peak(8, 2) < 1.5 * peak(1, 2) < peak(1, None)


def test_chunks_hold_every_row_once_and_little_padding() -> None:
    lengths = [5, 2, 9, 2, 7]
    ids = torch.arange(45).view(5, 9)
    mask = (torch.arange(9) < torch.tensor(lengths).unsqueeze(1)).long()
    positions = torch.tensor([[4, -1], [1, 0], [8, 3], [-1, -1], [6, -1]])
    chunks = cut_into_chunks(ids, mask, positions, 14, labels=ids)
    assert [chunk.rows.tolist() for chunk in chunks] == [[1, 3], [0, 4], [2]]
    assert [tuple(chunk.inputs["input_ids"].shape) for chunk in chunks] == [(2, 2), (2, 7), (1, 9)]
    # A row of more tokens is a chunk of its own.
    assert [chunk.rows.tolist() for chunk in cut_into_chunks(ids, mask, positions, 6)] == [[1, 3], [0], [4], [2]]
    for chunk in chunks:
        assert chunk.labels is not None and torch.equal(chunk.labels, chunk.inputs["input_ids"])
        assert torch.equal(chunk.inputs["retrieval_positions"], positions[chunk.rows])
        assert torch.equal(chunk.inputs["attention_mask"], mask[chunk.rows, : chunk.labels.shape[1]])


def test_random_state_is_restored_inside_the_block_only() -> None:
    torch.manual_seed(5)
    state, first = RandomState(torch.zeros(1)), torch.rand(2)
    second = torch.rand(2)
    torch.manual_seed(5)
    torch.rand(2)
    with state.restored():
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.rand(2), second)


@pytest.mark.parametrize("numbers", [[3, 6], [0, 3]], ids=["nothing retrieved", "one row retrieves"])
def test_rows_that_retrieve_nothing(numbers: list[int], base_tokenizer: Any, tmp_path: Path) -> None:
    trainers = [
        make(base_tokenizer, tmp_path, "info_nce", numbers=numbers, contrastive_chunk_size=n) for n in (None, 1)
    ]
    for trainer in trainers:
        trainer.train()
    assert_same_weights(*(weights(trainer.model) for trainer in trainers), atol=1e-7)


def test_what_cannot_be_cut_into_chunks_is_refused(base_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contrastive_chunk_size=2 cannot be combined with a mixture of experts"):
        make(base_tokenizer, tmp_path, "bpr", architecture="mixtral", contrastive_chunk_size=2)
    with pytest.raises(ValueError, match="contrastive_chunk_size=0 must be .*at least 1"):
        make(base_tokenizer, tmp_path, "bpr", contrastive_chunk_size=0)


# Examples in order, and settings; each process takes half of a batch of four. e3 and e6 retrieve nothing.
CASES_OF_TWO: dict[str, tuple[list[int], dict[str, Any]]] = {
    "bpr": ([0, 1, 2, 4], {}),
    "symmetric": ([0, 1, 2, 4], {"contrastive_loss": "info_nce", "info_nce_symmetric": True}),
    "matryoshka": ([0, 1, 2, 4], {"contrastive_loss": "info_nce", "info_nce_symmetric": True, "matryoshka_dims": [8]}),
    "lora": ([0, 1, 2, 4], {"lora": True}),
    "one process without passages": ([0, 1, 3, 6], {}),
    "accumulation": ([0, 1, 2, 4, 5, 7, 3, 6], {"gradient_accumulation_steps": 2}),
}


def make_of_two(case: str, tokenizer: Any, directory: Path, size: int, chunk_size: int | None) -> OneGenTrainer:
    numbers, settings = CASES_OF_TWO[case]
    options = {"per_device_train_batch_size": size, "contrastive_chunk_size": chunk_size, **settings}
    return make(tokenizer, directory, "bpr", numbers=numbers, **options)


def one_process_of_two(rank: int, directory: str) -> dict[str, Any]:
    """All cases, to start processes only once."""
    tokenizer, found = build_tokenizer(), {}
    for case in CASES_OF_TWO:
        trainer = make_of_two(case, tokenizer, Path(directory) / f"{case}-{rank}", 2, 1)
        trainer.train()
        found[case] = weights(trainer.model)
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    directory = tmp_path_factory.mktemp("pair")
    return run_together(one_process_of_two, directory, str(directory))


@pytest.mark.xdist_group("two processes of the cache")
@pytest.mark.parametrize("case", CASES_OF_TWO)
def test_two_processes_equal_one(case: str, pair: list[dict[str, Any]], base_tokenizer: Any, tmp_path: Path) -> None:
    whole = make_of_two(case, base_tokenizer, tmp_path, 4, None)
    before = weights(whole.model)
    whole.train()
    expected = weights(whole.model)
    assert max((before[name] - value).abs().max().item() for name, value in expected.items()) > 1e-4
    assert_same_weights(pair[0][case], pair[1][case], atol=0.0)
    assert_same_weights(pair[0][case], expected, atol=1e-6)
