"""No architecture of transformers is wrong in silence: each is right, slower but right, or refused by name."""

from __future__ import annotations

import pytest
import transformers
from support.sweep import architectures, classes_of, examine

# A few unlike kinds in every run: packed, with windows, with a window in the mask only, in chunks, token by token.
EVERY_TIME = {"smollm3": "right", "gemma3_text": "right", "qwen2_moe": "right", "bloom": "slower", "mamba": "slower"}


ENDS_IN_AN_ERROR = {"cpmant", "laguna", "mllama", "modernbert-decoder", "moshi"}
"""Their embeddings can't be resized, or their tiny models can't be loaded."""


def outcome_of(name: str) -> tuple[str, str]:
    transformers.utils.logging.disable_progress_bar()
    outcome = examine(name, *classes_of(name))
    return outcome.verdict, outcome.detail


@pytest.mark.parametrize(("name", "verdict"), EVERY_TIME.items())
def test_a_few_architectures(name: str, verdict: str) -> None:
    assert outcome_of(name)[0] == verdict, outcome_of(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*architectures()} - set(EVERY_TIME)))
def test_every_architecture(name: str) -> None:
    verdict, detail = outcome_of(name)
    assert verdict != "WRONG", detail
    assert verdict != "error" or name in ENDS_IN_AN_ERROR, detail
