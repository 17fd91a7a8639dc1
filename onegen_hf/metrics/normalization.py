"""How the official scripts bring answers to one form before they compare them."""

from __future__ import annotations

import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_text(text: str) -> str:
    """Lower case, without ASCII punctuation and extra white space (2WikiMultihopQA's evidence triples)."""
    return " ".join(text.lower().translate(_PUNCTUATION).split())


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and extra white space (SQuAD's evaluation script)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())
