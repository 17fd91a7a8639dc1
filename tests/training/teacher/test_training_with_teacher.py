"""A training that distils: what is embedded, what is logged, how it resumes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from support.fixed_teacher import FixedTeacher
from support.sample_corpus import DOCUMENTS, EXAMPLES, make_repository
from support.tiny_teachers import save_cross_encoder, save_sentence_transformer
from support.training_setup import assert_same_weights, dataset, logged, trainer_for, weights

from onegen_hf import OneGenConfig, OneGenDataCollator, OneGenForCausalLM, OneGenTrainer, OneGenTrainingArguments
from onegen_hf.training import run
from onegen_hf.training.teacher import CrossEncoderTeacher, EmbeddingTeacher
from onegen_hf.training.teacher.embedding import EMBEDDINGS_FILE
from onegen_hf.training.teacher.for_training import TEACHER_FOLDER, is_cross_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_sentence_transformer(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_cross_encoder(tmp_path_factory.mktemp("cross encoder")))


def test_the_ranking_of_the_teacher_is_learned(encoder: str, base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(
        base_tokenizer, tmp_path, distill_from=encoder, lambda_gen=0.0, lambda_ret=0.0, distill_temperature=0.1,
        optim="adamw_torch", max_steps=15, per_device_train_batch_size=8, eval_dataset=dataset([0, 1]),
    )  # fmt: skip
    assert isinstance(trainer.data_collator.teacher, EmbeddingTeacher)
    trainer.train()
    losses = [entry.loss_distill for entry in logged(trainer)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(hasattr(entry, "loss_ret") for entry in logged(trainer))
    assert trainer.evaluate()["eval_loss_distill"] > 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Positives and hard negatives of the examples, or all documents.
        ({"num_hard_negatives": 0}, {"d0", "d1", "d2", "d3"}),
        ({"num_hard_negatives": 1}, {"d0", "d1", "d2", "d3", "d4"}),
        ({"num_hard_negatives": 0, "num_random_negatives": 1}, {document["id"] for document in DOCUMENTS}),
    ],
)
def test_what_a_batch_may_hold_is_embedded(
    settings: dict[str, int], expected: set[str], encoder: str, base_tokenizer: Any, tmp_path: Path
) -> None:
    trainer = trainer_for(base_tokenizer, tmp_path, [0, 1, 2, 3], distill_from=encoder, **settings)
    scores = trainer.data_collator.teacher.scores(["Who made it?"], list(trainer.data_collator.documents))
    known = {document["id"] for document, score in zip(DOCUMENTS, scores[0], strict=True) if not score.isnan()}
    assert known == expected


def test_a_resumed_run_does_not_embed_again(
    encoder: str, base_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = dict(
        distill_from=encoder, matryoshka_dims=[8], per_device_train_batch_size=2, max_steps=4, save_strategy="steps",
        save_steps=2,
    )  # fmt: skip
    whole = trainer_for(base_tokenizer, tmp_path / "whole", **settings)
    whole.train()
    assert (tmp_path / "whole" / TEACHER_FOLDER / EMBEDDINGS_FILE).is_file()

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("embeds again")

    for name in ("encode", "encode_query", "encode_document"):
        monkeypatch.setattr(SentenceTransformer, name, refuse)
    resumed = trainer_for(base_tokenizer, tmp_path / "whole", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert_same_weights(weights(resumed.model), weights(whole.model), atol=1e-7)
    assert OneGenForCausalLM.from_pretrained(tmp_path / "whole" / "checkpoint-4").onegen_config.matryoshka_dims == [8]


def test_an_adapter_keeps_the_prefixes(base_tokenizer: Any, tmp_path: Path) -> None:
    adapter = LoraConfig(r=2, target_modules=["q_proj"])
    trainer = trainer_for(base_tokenizer, tmp_path, matryoshka_dims=[8], peft_config=adapter)
    trainer.train()
    trainer.save_model()
    assert OneGenConfig.from_dict(json.loads((tmp_path / "config.json").read_text())["onegen"]).matryoshka_dims == [8]


def test_a_cross_encoder(cross_encoder: str, base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(
        base_tokenizer, tmp_path, distill_from=cross_encoder, distill_temperature=1.0, contrastive_chunk_size=3
    )
    assert isinstance(trainer.data_collator.teacher, CrossEncoderTeacher)
    batch = trainer.data_collator([trainer.train_dataset[n] for n in (1, 4)])
    # Each anchor with its positive and its hard negative, and not with those of the other.
    assert (~batch["teacher_scores"].isnan()).sum(dim=1).tolist() == [2, 2]
    assert not batch["teacher_scores"][batch["retrieval_targets"] == 1].isnan().any()
    trainer.train()
    assert logged(trainer)[0].loss_distill > 0


def test_the_kind_of_a_teacher(encoder: str, cross_encoder: str) -> None:
    assert not is_cross_encoder(encoder)
    assert is_cross_encoder(cross_encoder)
    assert is_cross_encoder(str(Path(cross_encoder).parent / "backbone"))
    assert not is_cross_encoder(str(Path(encoder).parent / "backbone"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_teacher_of_the_collator(workers: int, encoder: str, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    queries = ["Who made it?", "Who paints?", "Where is Old Mill?"]
    teacher = EmbeddingTeacher.build(encoder, queries, DOCUMENTS, device="cpu", show_progress=False)
    collator = OneGenDataCollator(tokenizer, DOCUMENTS, teacher=teacher)
    examples = Dataset.from_list([collator.encode_example(EXAMPLES[number]) for number in (2, 4, 7)])
    args = OneGenTrainingArguments(
        str(tmp_path), use_cpu=True, report_to=[], max_steps=2, logging_steps=1, save_strategy="no",
        dataloader_num_workers=workers, lambda_distill=0.5, disable_tqdm=True,
    )  # fmt: skip
    trainer = OneGenTrainer(model, args, examples, processing_class=tokenizer, data_collator=collator)
    trainer.train()
    assert all(entry.loss_distill > 0 for entry in logged(trainer))
    assert not (tmp_path / TEACHER_FOLDER).exists()


def test_what_cannot_teach_is_refused(encoder: str, base_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="distill_from='no/such teacher': .* cannot be loaded as a SentenceTransf"):
        trainer_for(base_tokenizer, tmp_path, distill_from="no/such teacher")
    with pytest.raises(ValueError, match="distill_from=.* has nothing to teach: no query token"):
        trainer_for(base_tokenizer, tmp_path, [3, 6], distill_from=encoder)
    with pytest.raises(TypeError, match="distill_from needs examples that can be read before the training"):
        stream = dataset().to_iterable_dataset()
        trainer_for(base_tokenizer, tmp_path, train_dataset=stream, distill_from=encoder)
    with pytest.raises(ValueError, match="matryoshka_dims=.* holds 33, but embeddings have 32 dimensions"):
        trainer_for(base_tokenizer, tmp_path, matryoshka_dims=[33])


def test_a_collator_of_another_class(encoder: str, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    args = OneGenTrainingArguments(str(tmp_path), use_cpu=True, report_to=[], distill_from=encoder)
    with pytest.raises(ValueError, match="needs a OneGenDataCollator, not a function"):
        OneGenTrainer(model, args, list(EXAMPLES), processing_class=tokenizer, data_collator=lambda rows: {})


def test_a_recipe(encoder: str, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    start, repository = tmp_path / "start", make_repository(tmp_path / "data")
    model.save_pretrained(start)
    tokenizer.save_pretrained(start)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model_name_or_path: {start}\ndataset: [{repository}]\noutput_dir: {tmp_path / 'out'}\nuse_cpu: true\n"
        "report_to: none\nmax_steps: 1\nlogging_steps: 1\ncontrastive_loss: info_nce\nmatryoshka_dims: [8, 16]\n"
        f"distill_from: {encoder}\nlambda_distill: 0.5\ndistill_temperature: 0.1\n"
    )
    run.main(["--config", str(recipe)])
    loaded = OneGenForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.onegen_config.matryoshka_dims == [8, 16]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "matryoshka_dims = [8, 16]" in card and "kusupati2022matryoshka" in card
    assert "λd = 0.5, the teacher `encoder` and the temperature 0.1" in card and str(tmp_path) not in card


def test_scores_in_forward_are_those_of_the_teacher(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(base_tokenizer, tmp_path, lambda_distill=0.0)
    trainer.data_collator.teacher = FixedTeacher()
    plain = trainer_for(base_tokenizer, tmp_path)
    trainer.train()
    plain.train()
    # With a weight of 0 it is measured, and changes nothing.
    assert torch.isfinite(torch.tensor(logged(trainer)[0].loss_distill))
    assert_same_weights(weights(trainer.model), weights(plain.model), atol=0.0)
