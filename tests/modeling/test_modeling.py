"""The joint forward, on every architecture, against the plain backbone with the same weights."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import MIXTURES
from transformers import DynamicCache

from onegen_hf import OneGenDataCollator, OneGenForCausalLM
from onegen_hf.losses import BPRLoss, DistillationLoss, InfoNCELoss
from onegen_hf.losses.causal_lm import predicting_positions
from onegen_hf.modeling.mixin import _groups_of_similar_length
from onegen_hf.modeling.outputs import CACHE, OneGenOutput

JOINT = ("retrieval_positions", "passage_input_ids", "passage_attention_mask", "passage_retrieval_positions",
         "passage_keys", "retrieval_targets")  # fmt: skip


def text_part(batch: dict[str, Any]) -> dict[str, Any]:
    """What a plain backbone knows."""
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def full(plain: Any, batch: dict[str, Any], prefix: str = "") -> Any:
    """The plain backbone's output for all positions."""
    return plain(
        batch[f"{prefix}input_ids"], attention_mask=batch[f"{prefix}attention_mask"], output_hidden_states=True
    )


def test_joint_forward_equals_the_plain_backbone(tiny: SimpleNamespace) -> None:
    batch = tiny.batch
    with torch.no_grad():
        out = tiny.model(**batch)
        text, passages = full(tiny.plain, batch), full(tiny.plain, batch, "passage_")
        language_loss = tiny.plain(**text_part(batch), labels=batch["labels"]).loss
    assert isinstance(out, OneGenOutput)
    labelled = predicting_positions(batch["labels"])
    assert out.logits.shape == (int(labelled.sum()), tiny.model.config.vocab_size)
    torch.testing.assert_close(out.logits, text.logits[labelled], rtol=1e-4, atol=1e-5)

    rows, columns = (batch["retrieval_positions"] >= 0).nonzero(as_tuple=True)
    assert len(rows) == 4
    positions = batch["retrieval_positions"][rows, columns]
    anchors = text.hidden_states[-1][rows, positions]
    torch.testing.assert_close(out.retrieval_embeddings[rows, columns], anchors, rtol=1e-4, atol=1e-5)
    assert (out.retrieval_embeddings[batch["retrieval_positions"] < 0] == 0).all()
    last = batch["passage_attention_mask"].sum(dim=1) - 1
    embedded = passages.hidden_states[-1][torch.arange(len(last)), last]
    torch.testing.assert_close(out.passage_embeddings, embedded, rtol=1e-4, atol=1e-5)

    torch.testing.assert_close(out.loss_gen, language_loss, rtol=1e-5, atol=1e-5)
    contrastive = BPRLoss(20.0)(anchors, embedded, batch["retrieval_targets"])
    torch.testing.assert_close(out.loss_ret, contrastive, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.loss, out.loss_gen + out.loss_ret)
    assert out.loss_router is None
    best = torch.nn.functional.cosine_similarity(anchors[:, None], embedded[None], dim=-1).argmax(dim=1)
    accuracy = batch["retrieval_targets"][torch.arange(4), best].float().mean()
    torch.testing.assert_close(out.retrieval_accuracy, accuracy)


def test_gradients_reach_every_parameter_from_both_losses(tiny: SimpleNamespace) -> None:
    model = tiny.model.train()
    out = model(**tiny.batch)
    for part in (out.loss_gen, out.loss_ret):
        grads = torch.autograd.grad(part, list(model.parameters()), retain_graph=True, allow_unused=True)
        missing = [n for (n, _), g in zip(model.named_parameters(), grads, strict=True) if g is None or not g.any()]
        if part is out.loss_ret:
            missing = [name for name in missing if "lm_head" not in name]
        # A random router may leave an expert without a token of so small a batch; a query bias of keys cancels.
        assert not [name for name in missing if "expert" not in name and not name.endswith("k_proj.bias")]


def test_without_its_arguments_it_is_the_backbone(tiny: SimpleNamespace) -> None:
    with torch.no_grad():
        ours, theirs = tiny.model(**text_part(tiny.batch)), tiny.plain(**text_part(tiny.batch))
    assert type(ours) is type(theirs)
    torch.testing.assert_close(ours.logits, theirs.logits)
    with torch.no_grad():
        last = tiny.model(**text_part(tiny.batch), logits_to_keep=1)
    torch.testing.assert_close(last.logits, theirs.logits[:, -1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_one_pass_embedding_from_a_cache(tiny: SimpleNamespace, name: str) -> None:
    # The hidden state of the step in which the query token goes through the decoder is that of one run over all.
    ids = tiny.batch["input_ids"][:1]
    position = int(tiny.batch["retrieval_positions"][0, 0])
    with torch.no_grad():
        expected = full(tiny.plain, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).hidden_states[-1]
        start = tiny.model(input_ids=ids[:, :position], use_cache=True)
        step = tiny.model(
            input_ids=ids[:, position : position + 1],
            attention_mask=torch.ones_like(ids[:, : position + 1]),
            use_cache=True,
            retrieval_positions=torch.tensor([[0]]),
            **{name: getattr(start, CACHE)},
        )
        rest = tiny.model(
            input_ids=ids[:, position + 1 :],
            attention_mask=torch.ones_like(ids),
            use_cache=True,
            retrieval_positions=[[ids.shape[1] - position - 2]],
            **{name: getattr(step, CACHE)},
        )
    torch.testing.assert_close(step.retrieval_embeddings[0, 0], expected[0, position], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rest.retrieval_embeddings[0, 0], expected[0, -1], rtol=1e-4, atol=1e-5)


def test_one_cache_under_two_names(tiny: SimpleNamespace) -> None:
    cache = DynamicCache(config=tiny.model.config)
    with pytest.raises(ValueError, match="cache and past_key_values are two names of the same argument"):
        tiny.model(**text_part(tiny.batch), cache=cache, past_key_values=cache)


def test_greedy_generation_equals_the_backbones(tiny: SimpleNamespace) -> None:
    tokenizer = copy.deepcopy(tiny.tokenizer)
    tokenizer.padding_side = "left"
    inputs = tokenizer(["Who made Tin Boat?", "Say a town, please. [RQ]"], padding=True, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    assert tiny.model.generate(**inputs, **settings).tolist() == tiny.plain.generate(**inputs, **settings).tolist()


def test_bfloat16(tiny: SimpleNamespace) -> None:
    with torch.no_grad():
        expected = tiny.model(**tiny.batch)
        out = tiny.model.to(torch.bfloat16)(**tiny.batch)
    assert out.retrieval_embeddings.dtype == out.passage_embeddings.dtype == out.logits.dtype == torch.bfloat16
    assert out.loss.dtype == out.loss_gen.dtype == out.loss_ret.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(out.passage_embeddings.float(), expected.passage_embeddings, dim=-1)
    # A router may choose another expert after rounding.
    assert cosine.mean() > (0.9 if tiny.model.has_router else 0.995)
    torch.testing.assert_close(out.loss_gen, expected.loss_gen, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("architecture", ["llama_tied", "mistral", "qwen3", "gpt2", "qwen3_moe"])
def test_eager_attention_equals_sdpa(architecture: str, make: Any) -> None:
    tiny = make(architecture)
    outs = []
    for implementation in ("eager", "sdpa"):
        tiny.model.set_attn_implementation(implementation)
        with torch.no_grad():
            outs.append(tiny.model(**tiny.batch))
    torch.testing.assert_close(outs[0].loss, outs[1].loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outs[0].passage_embeddings, outs[1].passage_embeddings, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", ["llama_tied", "gpt2", "gemma2", "qwen3_moe", "mixtral"])
def test_activation_checkpointing_gives_the_same_gradients(architecture: str, make: Any) -> None:
    tiny = make(architecture)
    model = tiny.model.train()
    expected = model(**tiny.batch)
    expected.loss.backward()
    grads = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    if hasattr(model, "activation_checkpointing_enable"):  # so called since transformers 5.23
        model.activation_checkpointing_enable()
        assert model.is_activation_checkpointing
    else:
        model.gradient_checkpointing_enable()
        assert model.is_gradient_checkpointing
    calls = []
    model.get_decoder().register_forward_hook(lambda *_: calls.append(1))
    out = model(**tiny.batch)
    out.loss.backward()
    assert calls
    torch.testing.assert_close(out.loss, expected.loss)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, grads[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


# Router losses


@pytest.mark.parametrize("architecture", MIXTURES)
def test_router_loss_in_training_only(architecture: str, make: Any) -> None:
    tiny = make(architecture)
    with torch.no_grad():
        evaluated = tiny.model(**tiny.batch)
        trained = tiny.model.train()(**tiny.batch)
        torch.testing.assert_close(trained.loss_gen, evaluated.loss_gen)
        assert evaluated.loss_router is None
        parts = [tiny.plain(**text_part(tiny.batch), output_router_logits=True).aux_loss]
        mask = tiny.batch["passage_attention_mask"]
        for start, stop, length in _groups_of_similar_length(mask.sum(dim=1).tolist()):
            ids = tiny.batch["passage_input_ids"][start:stop, :length]
            parts.append(tiny.plain(ids, attention_mask=mask[start:stop, :length], output_router_logits=True).aux_loss)
        assert len(parts) > 2
        expected = tiny.model.config.router_aux_loss_coef * torch.stack(parts).mean()
    assert expected > 0
    torch.testing.assert_close(trained.loss_router, expected)
    torch.testing.assert_close(trained.loss, trained.loss_gen + trained.loss_ret + trained.loss_router)


@pytest.mark.parametrize("architecture", MIXTURES)
def test_language_model_training_equals_the_backbones_objective(architecture: str, make: Any) -> None:
    tiny = make(architecture)
    batch = {**text_part(tiny.batch), "labels": tiny.batch["labels"]}
    with torch.no_grad():
        expected = tiny.plain(**batch, output_router_logits=True).loss
        torch.testing.assert_close(tiny.model.train()(**batch).loss, expected)


# Positions and losses, on one architecture


def test_positions_in_every_form(llama: SimpleNamespace) -> None:
    inputs = text_part(llama.batch)
    lists = [[5, 9], [3], [], [7]]
    with torch.no_grad():
        hidden = full(llama.plain, llama.batch).hidden_states[-1]
        padded = llama.model(**inputs, retrieval_positions=torch.tensor([[5, 9], [3, -1], [-1, -1], [7, -1]]))
        from_lists = llama.model(**inputs, retrieval_positions=lists)
        one_each = llama.model(**inputs, retrieval_positions=torch.tensor([5, 3, -1, 7]))
        mask = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
        mask[[0, 0, 1, 3], [5, 9, 3, 7]] = True
        masked = llama.model(**inputs, retrieval_positions=mask)
    assert padded.retrieval_embeddings.shape == (4, 2, 32)
    torch.testing.assert_close(from_lists.retrieval_embeddings, padded.retrieval_embeddings)
    assert one_each.retrieval_embeddings.shape == (4, 32)
    torch.testing.assert_close(one_each.retrieval_embeddings, padded.retrieval_embeddings[:, 0])
    torch.testing.assert_close(masked.retrieval_embeddings, hidden[[0, 0, 1, 3], [5, 9, 3, 7]])
    torch.testing.assert_close(padded.retrieval_embeddings[0], hidden[0, [5, 9]])
    # Without labels nothing is lost of the logits, and nothing is a loss.
    assert padded.logits.shape[:2] == inputs["input_ids"].shape
    assert padded.loss is None and padded.loss_gen is None and padded.loss_ret is None


@pytest.mark.parametrize("form", ["mask", "one each"])
def test_joint_loss_with_other_forms_of_positions(form: str, llama: SimpleNamespace) -> None:
    batch = OneGenDataCollator(llama.tokenizer, DOCUMENTS)([EXAMPLES[n] for n in (1, 2, 4)])
    expected = llama.model(**batch).loss_ret
    positions = batch["retrieval_positions"].squeeze(1)
    mask = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    mask[torch.arange(3), positions] = True
    changed = {**batch, "retrieval_positions": mask if form == "mask" else positions}
    torch.testing.assert_close(llama.model(**changed).loss_ret, expected)


def test_positions_out_of_range(llama: SimpleNamespace) -> None:
    length = llama.batch["input_ids"].shape[1]
    with pytest.raises(ValueError, match=f"position {length} lies outside the sequence of {length} tokens"):
        llama.model(**text_part(llama.batch), retrieval_positions=[[length], [0], [0], [0]])
    with pytest.raises(ValueError, match=r"has shape \(1, 1\), expected \(4, n\)"):
        llama.model(**text_part(llama.batch), retrieval_positions=[[0]])


@pytest.mark.parametrize(("gen", "ret"), [(1.0, 1.0), (0.5, 3.0), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("name", ["bpr", "info_nce"])
def test_lambdas_join_the_losses(name: str, gen: float, ret: float, llama: SimpleNamespace) -> None:
    llama.model.set_loss(name, lambda_gen=gen, lambda_ret=ret, scale=5.0)
    with torch.no_grad():
        out = llama.model(**llama.batch)
    loss = {"bpr": BPRLoss(5.0), "info_nce": InfoNCELoss(5.0)}[name]
    anchors = out.retrieval_embeddings[llama.batch["retrieval_positions"] >= 0]
    expected = loss(anchors, out.passage_embeddings, llama.batch["retrieval_targets"])
    torch.testing.assert_close(out.loss_ret, expected)
    torch.testing.assert_close(out.loss, gen * out.loss_gen + ret * out.loss_ret)


def test_divisors(llama: SimpleNamespace) -> None:
    with torch.no_grad():
        own = llama.model(**llama.batch)
        shared = llama.model(**llama.batch, num_items_in_batch=torch.tensor(1000), num_anchors_in_batch=40)
    tokens = int((llama.batch["labels"][:, 1:] != -100).sum())
    torch.testing.assert_close(shared.loss_gen, own.loss_gen * tokens / 1000)
    torch.testing.assert_close(shared.loss_ret, own.loss_ret * 4 / 40)


@pytest.mark.parametrize("asked", ["labels", "passages", "text and passages"])
def test_parts_alone(asked: str, llama: SimpleNamespace) -> None:
    batch = llama.batch
    with torch.no_grad():
        whole = llama.model(**batch)
        if asked == "labels":
            out = llama.model(**text_part(batch), labels=batch["labels"])
            torch.testing.assert_close(out.loss, whole.loss_gen)
            assert out.loss_ret is None and out.retrieval_embeddings is None
        elif asked == "passages":
            chosen = {name: batch[name] for name in JOINT}
            out = llama.model(**text_part(batch), **chosen)
            torch.testing.assert_close(out.loss, whole.loss_ret)
            assert out.loss_gen is None
        else:
            chosen = {name: batch[name] for name in JOINT if name not in ("retrieval_targets", "passage_keys")}
            out = llama.model(**text_part(batch), **chosen)
            assert out.loss is None
    if asked != "labels":
        torch.testing.assert_close(out.passage_embeddings, whole.passage_embeddings)
        torch.testing.assert_close(out.retrieval_embeddings, whole.retrieval_embeddings)


def test_no_labelled_token(llama: SimpleNamespace) -> None:
    batch = {**llama.batch, "labels": torch.full_like(llama.batch["labels"], -100)}
    out = llama.model.train()(**batch)
    assert out.loss_gen.item() == 0.0
    torch.testing.assert_close(out.loss, out.loss_ret)
    out.loss.backward()


def test_an_empty_set_of_passages(llama: SimpleNamespace) -> None:
    # What a process without passages gives to the exchange with the others.
    batch = OneGenDataCollator(llama.tokenizer, DOCUMENTS)([EXAMPLES[6]])
    expected = llama.model(**batch)
    none = torch.zeros((0, 1), dtype=torch.int64)
    batch |= {"passage_input_ids": none, "passage_attention_mask": none, "passage_retrieval_positions": none}
    out = llama.model(**batch, retrieval_targets=torch.zeros((0, 0)), passage_keys=none[:, 0])
    assert out.passage_embeddings.shape == (0, 32) and out.loss_ret.item() == 0.0
    torch.testing.assert_close(out.loss, expected.loss)
    out.loss.backward()


def test_errors_of_forward_and_set_loss(llama: SimpleNamespace) -> None:
    batch = llama.batch
    del batch["passage_retrieval_positions"]
    with pytest.raises(ValueError, match="passage_input_ids needs passage_retrieval_positions"):
        llama.model(**batch)
    with pytest.raises(ValueError, match="name='triplet' is unknown: choose one of 'bpr', 'info_nce'"):
        llama.model.set_loss("triplet")
    with pytest.raises(ValueError, match="lambda_ret=-1 must be at least 0"):
        llama.model.set_loss(lambda_ret=-1)


def test_scale_comes_from_the_checkpoint(llama: SimpleNamespace) -> None:
    llama.model.onegen_config.scale = 3.0
    llama.model.set_loss()
    assert llama.model.contrastive_loss.scale == 3.0
    assert not [name for name in llama.model.state_dict() if "contrastive" in name]


def test_matryoshka_dims_are_kept_in_the_checkpoint(llama: SimpleNamespace, tmp_path: Path) -> None:
    model = llama.model
    assert model.onegen_config.matryoshka_dims is None
    model.set_loss("info_nce", matryoshka_dims=[16, 8])
    assert model.onegen_config.matryoshka_dims == [8, 16]
    model.save_pretrained(tmp_path)
    loaded = OneGenForCausalLM.from_pretrained(tmp_path)
    assert loaded.onegen_config.matryoshka_dims == [8, 16]
    # A training that goes on keeps them, unless it says otherwise.
    loaded.set_loss("info_nce", scale=5.0)
    with torch.no_grad():
        out = loaded(**llama.batch)
    anchors = out.retrieval_embeddings[llama.batch["retrieval_positions"] >= 0]
    expected = [
        InfoNCELoss(5.0)(anchors[:, :d], out.passage_embeddings[:, :d], llama.batch["retrieval_targets"])
        for d in (8, 16, 32)
    ]
    torch.testing.assert_close(out.loss_ret, torch.stack(expected).mean())
    loaded.set_loss("info_nce", matryoshka_dims=[])
    assert loaded.onegen_config.matryoshka_dims is None and isinstance(loaded.contrastive_loss, InfoNCELoss)
    with pytest.raises(ValueError, match=r"matryoshka_dims=\[8, 64\] holds 64, but embeddings have 32 dimensions"):
        loaded.set_loss(matryoshka_dims=[8, 64])


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_a_teachers_scores_add_a_loss(weight: float, llama: SimpleNamespace) -> None:
    llama.model.set_loss(
        lambda_gen=0.5, lambda_ret=2.0, lambda_distill=weight, distill_temperature=0.1, scale=5.0, matryoshka_dims=[8]
    )
    targets = llama.batch["retrieval_targets"]
    teacher_scores = torch.rand(targets.shape, generator=torch.Generator().manual_seed(0))
    teacher_scores[0, 1] = torch.nan
    with torch.no_grad():
        out = llama.model(**llama.batch, teacher_scores=teacher_scores)
        shared = llama.model(**llama.batch, teacher_scores=teacher_scores, num_anchors_in_batch=40)
        without = llama.model(**llama.batch)
    anchors = out.retrieval_embeddings[llama.batch["retrieval_positions"] >= 0]
    # Of the whole embeddings, also where prefixes are trained.
    expected = DistillationLoss(5.0, 0.1)(anchors, out.passage_embeddings, targets, teacher_scores)
    torch.testing.assert_close(out.loss_distill, expected)
    torch.testing.assert_close(out.loss, 0.5 * out.loss_gen + 2.0 * out.loss_ret + weight * out.loss_distill)
    torch.testing.assert_close(shared.loss_distill, out.loss_distill * 4 / 40)
    assert without.loss_distill is None


def test_head_runs_only_where_a_label_counts(llama: SimpleNamespace) -> None:
    sizes = []
    llama.model.lm_head.register_forward_hook(lambda module, args, output: sizes.append(args[0].numel() // 32))
    llama.model(**llama.batch)
    assert sum(sizes) == int((llama.batch["labels"][:, 1:] != -100).sum())


# Concurrency


def test_two_threads_do_not_mix_their_hidden_states(llama: SimpleNamespace) -> None:
    model, barrier = llama.model, threading.Barrier(2, timeout=20)
    inputs = [llama.batch["input_ids"][:1, :20], llama.batch["input_ids"][1:2, :20]]
    positions = torch.tensor([[19]])
    with torch.no_grad():
        expected = [model(input_ids=ids, retrieval_positions=positions).retrieval_embeddings for ids in inputs]
    assert not torch.allclose(expected[0], expected[1])

    def meet(*_: Any) -> None:
        barrier.wait()

    model.lm_head.register_forward_pre_hook(meet)  # both have caught their decoder's output before either reads it

    def run(number: int) -> Any:
        with torch.no_grad():
            return [
                model(input_ids=inputs[number], retrieval_positions=positions).retrieval_embeddings for _ in range(3)
            ]

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(run, range(2), timeout=60))
    for number in range(2):
        for embedding in found[number]:
            torch.testing.assert_close(embedding, expected[number])


def test_nothing_is_kept_after_a_failure_or_a_plain_forward(llama: SimpleNamespace) -> None:
    from onegen_hf.modeling.mixin import _capture

    with pytest.raises((IndexError, RuntimeError)):
        llama.model(input_ids=torch.tensor([[10_000]]), retrieval_positions=[[0]])
    llama.model(**text_part(llama.batch))
    assert _capture.hidden is None and not _capture.wanted
