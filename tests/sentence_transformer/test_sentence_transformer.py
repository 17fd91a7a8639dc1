"""A OneGen model as a SentenceTransformer: the same embeddings, and accepted by evaluators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.decoding_setup import Setup
from transformers import LogitsProcessor, LogitsProcessorList

from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.data.chat_rendering import render_prompt
from onegen_hf.data.conversations import RoleEncoder
from onegen_hf.generation import OnePassDecoder
from onegen_hf.index.encode import encode_passages
from onegen_hf.metrics.retrieval import mean_ranking_scores
from onegen_hf.sentence_transformer import as_sentence_transformer
from onegen_hf.similarity import normalize

QUERIES = ["Who made Tin Boat?", "Where was Ada Moll born, and when was that?", "x"]


class AsksAtOnce(LogitsProcessor):
    """Makes the model emit the query token first."""

    def __init__(self, query_token: int, prompt_length: int) -> None:
        self.query_token, self.prompt_length = query_token, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.query_token] = 0.0
        return forced if input_ids.shape[1] == self.prompt_length else scores


@pytest.fixture
def encoder(model: Any, tokenizer: Any) -> Any:
    return as_sentence_transformer(model, tokenizer)


def as_texts(documents: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"title": document["title"], "text": " ".join(document["sentences"])} for document in documents]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_documents_equal_the_index(
    encoder: Any, model: Any, tokenizer: Any, documents: list[dict[str, Any]], batch_size: int
) -> None:
    expected = encode_passages(model, tokenizer, documents, show_progress=False).embeddings
    found = encoder.encode_document(as_texts(documents), batch_size=batch_size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    untitled = [" ".join(document["sentences"]) for document in documents]
    expected = encode_passages(model, tokenizer, untitled, show_progress=False).embeddings
    np.testing.assert_allclose(encoder.encode_document(untitled, batch_size=batch_size), expected, atol=1e-5)


def test_queries_equal_decoding(llama: Setup) -> None:
    model, tokenizer = llama.model, llama.tokenizer
    found = as_sentence_transformer(model, tokenizer).encode_query(QUERIES)
    for query, embedding in zip(QUERIES, found, strict=True):
        prompt = tokenizer(render_prompt(query, tokenizer, model.onegen_config), add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt, *tokenizer(query, add_special_tokens=False)["input_ids"]]])
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            custom_generate=OnePassDecoder(llama.index, tokenizer, model.onegen_config),
            logits_processor=LogitsProcessorList([AsksAtOnce(llama.query_token, ids.shape[1])]),
            max_new_tokens=3,
            do_sample=False,
            return_dict_in_generate=True,
        )
        decoded = normalize(output.rows[0].retrievals[0].embedding)
        np.testing.assert_allclose(embedding, decoded.numpy(), atol=1e-5)


def test_query_ids_are_those_of_training(encoder: Any, model: Any, tokenizer: Any) -> None:
    query = QUERIES[1]
    messages = [{"role": "user", "content": query}, {"role": "assistant", "content": f"{query}[RQ]"}]
    trained = RoleEncoder(tokenizer, model.onegen_config).encode(messages)
    features = encoder.preprocess([query], task="query")
    assert features["input_ids"][0].tolist() == trained.input_ids[: trained.query_positions[0] + 1]
    assert features["retrieval_positions"].tolist() == [[trained.query_positions[0]]]


def test_prompts_and_tasks(encoder: Any) -> None:
    assert np.array_equal(encoder.encode(["a town"]), encoder.encode_document(["a town"]))
    prompted = encoder.encode_query(["a town"], prompt="Find: ")
    np.testing.assert_allclose(prompted, encoder.encode_query(["Find: a town"]), atol=1e-6)
    assert not np.allclose(prompted, encoder.encode_query(["a town"]))
    assert np.isfinite(encoder.encode_document(["", "x"])).all()  # BEIR has empty documents
    assert encoder.get_embedding_dimension() == encoder.encode_query("x").shape[0]


def test_the_template_stands_before_the_query_token(model: Any, tokenizer: Any) -> None:
    encoder = as_sentence_transformer(model, tokenizer, query_template="Look for {query} now")
    ids = encoder.preprocess(["a town"], task="query")["input_ids"][0].tolist()
    assert tokenizer.decode(ids).endswith("assistant\nLook for a town now[RQ]")


def test_long_queries_are_cut_with_one_warning(model: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    encoder = as_sentence_transformer(model, tokenizer, max_query_length=4)
    long = "Where was Ada Moll born and who made Tin Boat?"
    found = encoder.encode_query([long, long + " x"])
    kept = tokenizer.decode(tokenizer(long, add_special_tokens=False)["input_ids"][:4])
    np.testing.assert_allclose(found, encoder.encode_query([kept, kept]), atol=1e-6)
    assert sum("max_query_length=4" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("how", ["as_sentence_transformer", "SentenceTransformer"])
def test_round_trip(tmp_path: Path, how: str, model: Any, tokenizer: Any) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = as_sentence_transformer(model, tokenizer, query_template="Find {query}", max_query_length=7)
    encoder.save_pretrained(str(tmp_path))
    if how == "SentenceTransformer":
        again = SentenceTransformer(str(tmp_path), trust_remote_code=True, device="cpu")
    else:
        again = as_sentence_transformer(tmp_path)
    assert again[0].query_template == "Find {query}"
    assert again[0].max_query_length == 7
    np.testing.assert_array_equal(again.encode_query(QUERIES), encoder.encode_query(QUERIES))
    np.testing.assert_array_equal(again.encode_document(QUERIES), encoder.encode_document(QUERIES))
    assert isinstance(OneGenForCausalLM.from_pretrained(tmp_path), OneGenForCausalLM)


def test_loading_takes_model_kwargs(encoder: Any, tmp_path: Path) -> None:
    encoder.save_pretrained(str(tmp_path))
    again = as_sentence_transformer(tmp_path, model_kwargs={"dtype": torch.bfloat16})
    assert again[0].model.dtype == torch.bfloat16
    assert again.encode_query("x").dtype == np.float32


def test_information_retrieval_evaluator(
    encoder: Any, model: Any, tokenizer: Any, documents: list[dict[str, Any]]
) -> None:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    corpus = {document["id"]: " ".join(document["sentences"]) for document in documents}
    queries = {f"q{number}": query for number, query in enumerate(QUERIES)}
    relevant = {"q0": {"d0"}, "q1": {"d1", "d4"}, "q2": {"d11"}}
    evaluator = InformationRetrievalEvaluator(
        queries, corpus, relevant, accuracy_at_k=[1, 5], precision_recall_at_k=[5], mrr_at_k=[12], ndcg_at_k=[5],
        map_at_k=[12], show_progress_bar=False, write_csv=False,
    )  # fmt: skip
    scores = evaluator(encoder)
    index = PassageIndex.build(model, tokenizer, list(corpus.values()), show_progress=False)
    rows = index.search(torch.from_numpy(encoder.encode_query(QUERIES)), len(corpus))[1]
    rankings = [[list(corpus)[row] for row in found] for found in rows]
    ours = mean_ranking_scores(rankings, [sorted(relevant[name]) for name in queries], at=(1, 5))
    for theirs, name in (
        ("accuracy@1", "success@1"), ("accuracy@5", "success@5"), ("recall@5", "recall@5"), ("mrr@12", "mrr"),
        ("ndcg@5", "ndcg@5"), ("map@12", "map"),
    ):  # fmt: skip
        assert scores[f"cosine_{theirs}"] == pytest.approx(ours[name], abs=1e-6)


def test_mteb_takes_it(encoder: Any, documents: list[dict[str, Any]]) -> None:
    mteb = pytest.importorskip("mteb")
    from datasets import Dataset
    from mteb.models import SentenceTransformerEncoderWrapper
    from mteb.types import PromptType
    from torch.utils.data import DataLoader

    wrapper = SentenceTransformerEncoderWrapper(encoder)
    metadata = mteb.get_task("NFCorpus").metadata
    texts = [" ".join(document["sentences"]) for document in documents]
    for prompt_type, inputs, expected in (
        (PromptType.query, QUERIES, encoder.encode_query(QUERIES)),
        (PromptType.document, texts, encoder.encode_document(texts)),
    ):
        loader = DataLoader(Dataset.from_dict({"text": inputs}), batch_size=2)
        found = wrapper.encode(
            loader, task_metadata=metadata, hf_split="test", hf_subset="default", prompt_type=prompt_type,
            show_progress_bar=False,
        )  # fmt: skip
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_errors(encoder: Any, model: Any, tokenizer: Any, base_tokenizer: Any) -> None:
    with pytest.raises(TypeError, match="not a OneGenForCausalLM"):
        as_sentence_transformer(torch.nn.Linear(2, 2), tokenizer)
    with pytest.raises(ValueError, match="tokenizer is missing"):
        as_sentence_transformer(model)
    with pytest.raises(ValueError, match="lacks the retrieval tokens"):
        as_sentence_transformer(model, base_tokenizer)
    with pytest.raises(ValueError, match="model_kwargs is for a checkpoint"):
        as_sentence_transformer(model, tokenizer, model_kwargs={"dtype": "bfloat16"})
    with pytest.raises(ValueError, match="query_template='find' must contain"):
        as_sentence_transformer(model, tokenizer, query_template="find")
    with pytest.raises(ValueError, match="max_query_length=0"):
        as_sentence_transformer(model, tokenizer, max_query_length=0)
    with pytest.raises(ValueError, match="a query must be a text"):
        encoder.preprocess([{"text": "x"}], task="query")
    with pytest.raises(ValueError, match="a document must be a text"):
        encoder.preprocess([3])
