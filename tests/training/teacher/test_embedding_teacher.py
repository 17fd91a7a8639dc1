"""The teacher that embeds: its scores are those of its model, and it embeds every text once."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from sentence_transformers import SentenceTransformer
from support.sample_corpus import DOCUMENTS
from support.tiny_teachers import save_sentence_transformer
from support.two_processes import run_together

from onegen_hf.data.documents import Corpus
from onegen_hf.data.passages import Passage
from onegen_hf.training.teacher import EmbeddingTeacher, embedding
from onegen_hf.training.teacher.embedding import EMBEDDINGS_FILE

QUERIES = ["Who made Tin Boat?", None, "Where was Ada Moll born?", "Who made Tin Boat?"]
OPTIONS: dict[str, Any] = {"device": "cpu", "show_progress": False}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sentence_transformer(tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is embedded."""
    texts: list[str] = []
    for name in ("encode_query", "encode_document"):
        encode = getattr(SentenceTransformer, name)

        def recorded(self: Any, inputs: list[str], _encode: Any = encode, **kwargs: Any) -> Any:
            texts.extend(inputs)
            return _encode(self, inputs, **kwargs)

        monkeypatch.setattr(SentenceTransformer, name, recorded)
    return texts


def test_scores_are_cosines(encoder: Path) -> None:
    corpus = Corpus(DOCUMENTS)
    model = SentenceTransformer(str(encoder), device="cpu")
    for teacher in (
        EmbeddingTeacher.build(encoder, QUERIES, corpus, **OPTIONS),
        EmbeddingTeacher.build(model, QUERIES, DOCUMENTS, batch_size=3, **OPTIONS),
    ):
        passages = [corpus[4], Passage("x", "", "not in the corpus"), corpus[11], corpus[0]]
        scores = teacher.scores([*QUERIES, "another question"], passages)
        assert scores.shape == (5, 4) and scores.dtype == torch.float32
        texts = ["Fern Bay Fern Bay is a town by the sea. It has a harbour.", "A page without a title.",
                 "Tin Boat Tin Boat is a film by Ada Moll. It has a boat in it."]  # fmt: skip
        expected = model.similarity(model.encode([QUERIES[0], QUERIES[2]]), model.encode(texts))
        torch.testing.assert_close(scores[[0, 2]][:, [0, 2, 3]], expected, atol=2e-3, rtol=0)
        assert torch.equal(scores[0].nan_to_num(9), scores[3].nan_to_num(9))
        assert scores[[1, 4]].isnan().all() and scores[:, 1].isnan().all()


def test_texts_in_several_portions(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passages = [Passage.from_record(document, 0) for document in DOCUMENTS]
    whole = EmbeddingTeacher.build(encoder, QUERIES, DOCUMENTS, **OPTIONS)
    monkeypatch.setattr(embedding, "_TEXTS_AT_ONCE", 5)
    portions = EmbeddingTeacher.build(encoder, QUERIES, DOCUMENTS, **OPTIONS)
    expected = whole.scores(QUERIES[::2], passages)
    torch.testing.assert_close(portions.scores(QUERIES[::2], passages), expected, atol=1e-3, rtol=0)


def test_every_text_is_embedded_once_and_a_second_run_embeds_nothing(
    encoder: Path, tmp_path: Path, calls: list[str]
) -> None:
    first = EmbeddingTeacher.build(encoder, QUERIES, DOCUMENTS, folder=tmp_path, **OPTIONS)
    assert len(calls) == len(set(calls)) == 2 + len(DOCUMENTS)
    calls.clear()
    second = EmbeddingTeacher.build(encoder, QUERIES, DOCUMENTS, folder=tmp_path, **OPTIONS)
    assert calls == []
    third = EmbeddingTeacher.build(encoder, ["Who sang?", *QUERIES], [*DOCUMENTS, "more"], folder=tmp_path, **OPTIONS)
    assert sorted(calls) == ["Who sang?", "more"]
    passages = [Passage.from_record(document, 0) for document in DOCUMENTS]
    for teacher in (second, third, EmbeddingTeacher.load(tmp_path)):
        assert torch.equal(teacher.scores(QUERIES[::2], passages), first.scores(QUERIES[::2], passages))
    assert [file.name for file in tmp_path.iterdir()] == [EMBEDDINGS_FILE]
    with safe_open(tmp_path / EMBEDDINGS_FILE, framework="pt") as file:
        assert file.get_tensor("passages.rows").dtype == torch.float16
        assert set(json.loads(file.metadata()["about"])) == {"weights", "max_seq_length", "prompts"}


def test_another_model_embeds_anew(encoder: Path, tmp_path: Path, calls: list[str]) -> None:
    EmbeddingTeacher.build(encoder, QUERIES, DOCUMENTS, folder=tmp_path / "kept", **OPTIONS)
    calls.clear()
    other = save_sentence_transformer(tmp_path, seed=1)
    EmbeddingTeacher.build(other, QUERIES, DOCUMENTS, folder=tmp_path / "kept", **OPTIONS)
    assert len(calls) == 2 + len(DOCUMENTS)
    (tmp_path / "kept" / EMBEDDINGS_FILE).write_bytes(b"damaged")
    calls.clear()
    EmbeddingTeacher.build(other, QUERIES, DOCUMENTS, folder=tmp_path / "kept", **OPTIONS)
    assert len(calls) == 2 + len(DOCUMENTS)


def test_a_model_that_overflows_in_float16_runs_again_without(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bool] = []

    def encode(texts: list[str], **options: Any) -> torch.Tensor:
        modes.append(torch.is_autocast_enabled("cpu"))
        return torch.full((len(texts), 2), torch.inf if modes[-1] else 3.0)

    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda device, dtype: autocast("cpu", torch.bfloat16))
    found = embedding.embed_texts(encode, ["a", "b"], 8, torch.device("cuda"), "queries", show_progress=False)
    assert modes == [True, False]
    torch.testing.assert_close(found, torch.full((2, 2), 0.5**0.5, dtype=torch.float16))


def test_saves_loads_and_pickles(encoder: Path, tmp_path: Path) -> None:
    teacher = EmbeddingTeacher.build(encoder, QUERIES, DOCUMENTS, **OPTIONS)
    teacher.save(tmp_path / "kept")
    passages = [Passage.from_record(document, 0) for document in DOCUMENTS]
    expected = teacher.scores(QUERIES[:1], passages)
    for copy in (pickle.loads(pickle.dumps(teacher)), EmbeddingTeacher.load(tmp_path / "kept")):
        assert torch.equal(copy.scores(QUERIES[:1], passages), expected)
    scored = run_together(in_a_process, tmp_path / "forked", teacher, processes=2)
    assert all(torch.equal(scores, expected) for scores in scored)
    with pytest.raises(FileNotFoundError, match="holds no embeddings of a teacher"):
        EmbeddingTeacher.load(tmp_path)


def in_a_process(rank: int, teacher: EmbeddingTeacher) -> torch.Tensor:
    return teacher.scores(QUERIES[:1], [Passage.from_record(document, 0) for document in DOCUMENTS])


def test_errors(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="queries is empty"):
        EmbeddingTeacher.build(encoder, [None], DOCUMENTS, **OPTIONS)
    with pytest.raises(ValueError, match="passages is empty"):
        EmbeddingTeacher.build(encoder, QUERIES, [], **OPTIONS)
    with pytest.raises(ValueError, match="cannot be loaded as a SentenceTransformer"):
        EmbeddingTeacher.build(tmp_path / "none", QUERIES, DOCUMENTS, **OPTIONS)
    with pytest.raises(TypeError, match="the teacher is a int: give a SentenceTransformer"):
        EmbeddingTeacher.build(3, QUERIES, DOCUMENTS, **OPTIONS)
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        EmbeddingTeacher.build(encoder, QUERIES, DOCUMENTS, batch_size=0)
    broken = SentenceTransformer(str(encoder), device="cpu")
    for parameter in broken.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="the teacher: embedding 0 .* holds NaN"):
        EmbeddingTeacher.build(broken, QUERIES, DOCUMENTS, **OPTIONS)
