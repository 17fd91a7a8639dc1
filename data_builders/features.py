"""The columns of the two dataset configs that every builder produces: `documents` and `examples`."""

from __future__ import annotations

from datasets import Features, List, Value

DOCUMENTS_FEATURES = Features({"id": Value("string"), "title": Value("string"), "sentences": List(Value("string"))})

EXAMPLES_FEATURES = Features(
    {
        "id": Value("string"),
        "messages": List({"role": Value("string"), "content": Value("string")}),
        "positives": List(List(Value("string"))),
        "negatives": List(List(Value("string"))),
        "question": Value("string"),
        "answers": List(Value("string")),
        "meta": Value("string"),
    }
)
