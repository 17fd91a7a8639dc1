"""Code for the processes of the tests: a random model is made to ask for passages, and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QUESTIONS = ["Where was the director of Tin Boat born?", "Who sang Grey Stone?"]
# A random model asks for nothing by itself: at every fourth length it is made to.
ASK = f"""
import json, sys
from transformers import LogitsProcessor, LogitsProcessorList, pipeline

QUESTIONS = {QUESTIONS!r}

class Asks(LogitsProcessor):
    def __init__(self, query_token):
        self.query_token = query_token

    def __call__(self, input_ids, scores):
        if input_ids.shape[1] % 4 == 0:
            scores[:, self.query_token] = 1e4
        return scores

def ask(rag):
    asks = LogitsProcessorList([Asks(rag.tokenizer.convert_tokens_to_ids("[RQ]"))])
    return rag(QUESTIONS, k=2, max_hops=2, max_new_tokens=16, logits_processor=asks)
"""


def answers(checkpoint: Path, **options: Any) -> Any:
    """What a directory answers in this process, as it comes back through JSON."""
    from transformers import pipeline

    namespace: dict[str, Any] = {}
    exec(ASK, namespace)
    found = json.loads(json.dumps(namespace["ask"](pipeline("onegen-rag", model=str(checkpoint), **options))))
    assert all(len(answer["retrievals"]) == 2 for answer in found)
    return found
