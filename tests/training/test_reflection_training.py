"""Reflection tokens made by the rule are learned jointly with retrieval, and criticise at the end."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from support.sample_corpus import DOCUMENTS
from support.tiny_models import tiny_model
from support.training_setup import QUIET

from data_builders.documents import Document, DocumentStore
from data_builders.single_hop.reflection_rule import with_reflection
from onegen_hf import (
    OneGenConfig,
    OneGenDataCollator,
    OneGenRagPipeline,
    OneGenTrainer,
    OneGenTrainingArguments,
    PassageIndex,
    RetrievalTokens,
)
from onegen_hf.data.targets import IGNORE_INDEX

CONFIG = OneGenConfig(tokens=RetrievalTokens.self_rag(), max_inserted_tokens=24)


def examples() -> list[dict[str, Any]]:
    """Two questions, each with its passage, another one's, and none."""
    store = DocumentStore()
    for document in DOCUMENTS:
        store.put(Document(document["id"], document["title"], tuple(document["sentences"])))
    rows = [
        {
            "id": f"{right['id']} {share}",
            "messages": [
                {"role": "user", "content": f"Say {right['title']}."},
                {"role": "assistant", "content": f"[RQ]<paragraph>x</paragraph>\nAnswer: {right['title']}"},
            ],
            "positives": [[right["id"]]],
            "negatives": [[wrong["id"]]],
            "question": f"Say {right['title']}.",
            "answers": [right["title"]],
            "meta": "{}",
            "shares": share,
        }
        for right, wrong in ((DOCUMENTS[0], DOCUMENTS[1]), (DOCUMENTS[1], DOCUMENTS[0]))
        for share in ((0.0, 0.0), (1.0, 0.0))
    ]
    return [made for row in rows for made in with_reflection([row], store, *row.pop("shares"))]


def test_reflection_tokens_are_labels_and_passages_are_not(base_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    CONFIG.tokens.add_to(tokenizer)
    collator = OneGenDataCollator(tokenizer, DOCUMENTS, CONFIG)
    for row in examples():
        encoded = collator.encode_example(row)
        tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
        labelled = {token for token, label in zip(tokens, encoded["labels"], strict=True) if label != IGNORE_INDEX}
        judged = "[Relevant]" if "[Relevant]" in tokens else "[Irrelevant]"
        assert {"[Retrieval]", "[RQ]", judged} <= labelled and any("[Utility" in token for token in labelled)
        begin, end = tokens.index("<paragraph>"), tokens.index("</paragraph>")
        assert all(label == IGNORE_INDEX for label in encoded["labels"][begin : end + 1])


def test_a_model_learns_to_judge(base_tokenizer: Any, tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer, "llama_untied", onegen_config=CONFIG, seed=3)
    args = OneGenTrainingArguments(
        str(tmp_path), **{**QUIET, "logging_steps": 60}, max_steps=60, per_device_train_batch_size=4,
        learning_rate=1e-2, bpr_negatives="sum",
    )  # fmt: skip
    rows = Dataset.from_list(examples())
    OneGenTrainer(model, args, rows, documents=DOCUMENTS, processing_class=tokenizer).train()
    model.eval()
    index = PassageIndex.build(model, tokenizer, DOCUMENTS[:2], show_progress=False)
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index, device="cpu")
    for right in DOCUMENTS[:2]:
        result = rag(f"Say {right['title']}.", critique=True, k=2, max_new_tokens=64)
        assert len(result.candidates) == 2
        own, other = sorted(result.candidates, key=lambda candidate: candidate.passage.id != right["id"])
        assert own.chosen and own.relevance > 0.5 > other.relevance
        assert own.utility > 0 > other.utility and own.support > other.support
        assert result.answer == right["title"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
