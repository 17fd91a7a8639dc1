"""A small made-up corpus with examples, and a tokenizer trained on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.parquet_export import write_repository
from support.tiny_models import VOCAB_SIZE

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "d0", "title": "Tin Boat", "sentences": ["Tin Boat is a film by Ada Moll.", "It has a boat in it."]},
    {"id": "d1", "title": "Ada Moll", "sentences": ["Ada Moll was born in Fern Bay.", "She makes films."]},
    {"id": "d2", "title": "Red Kite", "sentences": ["Red Kite is a film by Ben Oak."]},
    {"id": "d3", "title": "Ben Oak", "sentences": ["Ben Oak was born in Elm Hill.", "He paints.", "He sings."]},
    {"id": "d4", "title": "Fern Bay", "sentences": ["Fern Bay is a town by the sea.", "It has a harbour."]},
    {"id": "d5", "title": "Elm Hill", "sentences": ["Elm Hill is a town in the north."]},
    {"id": "d6", "title": "Grey Stone", "sentences": ["Grey Stone is a song of 1984."]},
    {"id": "d7", "title": "Cora Lind", "sentences": ["Cora Lind sang Grey Stone.", "She lives in Elm Hill."]},
    {"id": "d8", "title": "Old Mill", "sentences": ["Old Mill is a museum in Fern Bay."]},
    {"id": "d9", "title": "Dan Fisk", "sentences": ["Dan Fisk founded the Old Mill in 1931, with his own money."]},
    {"id": "d10", "title": "Blue Line", "sentences": ["Blue Line is a railway from Fern Bay to Elm Hill."]},
    {"id": "d11", "title": "", "sentences": ["A page without a title."]},
]


def _example(
    number: int, question: str, answer: str, positives: list[list[str]], negatives: list[list[str]]
) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {
        "id": f"e{number}",
        "messages": messages,
        "positives": positives,
        "negatives": negatives,
        "question": question,
        "answers": [answer.rpartition("Answer: ")[2]],
        "meta": {"kind": "test"},
    }


# e3's only query token has no positive; d1 is a positive of e0 and e1; e7 refers to one sentence.
EXAMPLES: list[dict[str, Any]] = [
    _example(
        0,
        "Where was the director of Tin Boat born?",
        "Who made Tin Boat? [RQ]<paragraph>Tin Boat is a film by Ada Moll.</paragraph> Ada Moll. Where was she born? "
        "[RQ]<paragraph>Ada Moll was born in Fern Bay.</paragraph> Answer: Fern Bay",
        [["d0"], ["d1"]],
        [["d2"], ["d3", "d4"]],
    ),
    _example(
        1,
        "Where was Ada Moll born?",
        "Where was Ada Moll born? [RQ]<paragraph>Ada Moll was born in Fern Bay.</paragraph> Answer: Fern Bay",
        [["d1"]],
        [["d3"]],
    ),
    _example(2, "Who made Red Kite?", "Who made it? [RQ] Answer: Ben Oak", [["d2", "d3"]], [["d0", "d1"]]),
    _example(3, "What is a film?", "Not needed. [RQ] Answer: a film", [[]], [[]]),
    _example(4, "Where is Old Mill?", "Where is Old Mill? [RQ] Answer: in Fern Bay", [["d8"]], [["d9"]]),
    _example(5, "Who sang Grey Stone?", "Who sang it? [RQ] Answer: Cora Lind", [["d7"]], [["d6"]]),
    _example(6, "Say a town.", "Answer: Elm Hill", [], []),
    _example(7, "Who paints?", "Who paints? [RQ] Answer: Ben Oak", [["d3#1"]], [["d1#1", "d7"]]),
]


def build_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer with ChatML; any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [" ".join([d["title"], *d["sentences"]]) for d in DOCUMENTS]
    texts += [message["content"] for example in EXAMPLES for message in example["messages"]]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<|pad|>", "<|bos|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
    )
    assert len(fast) == VOCAB_SIZE, len(fast)
    return fast


def make_repository(root: Path) -> Path:
    """Documents, and examples in the splits train and dev."""
    rows = [{**example, "meta": json.dumps(example["meta"])} for example in EXAMPLES]
    splits = {"train": rows[:6], "dev": rows[6:]}
    write_repository(
        root,
        Dataset.from_list(DOCUMENTS, features=DOCUMENTS_FEATURES),
        {name: Dataset.from_list(part, features=EXAMPLES_FEATURES) for name, part in splits.items()},
        title="Test",
    )
    return root
