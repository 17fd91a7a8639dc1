"""Settings by name, and what they are applied to."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.data.chat_rendering import render, render_prompt
from onegen_hf.presets import TOKEN_PRESETS, fitting_presets, preset, with_preset
from onegen_hf.training.run import FormatArguments

PAPER = [name for name in TOKEN_PRESETS if name.endswith("-paper")]


@pytest.mark.parametrize("name", list(TOKEN_PRESETS))
def test_every_preset_survives_config_json(name: str) -> None:
    settings = preset(name)
    assert settings.tokens == TOKEN_PRESETS[name]()
    assert OneGenConfig.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_own_presets_are_tokens_alone() -> None:
    assert preset("multi-hop") == OneGenConfig()
    kept = with_preset(OneGenConfig(prompt_template="Q: {question}"), "entity-linking")
    assert kept == OneGenConfig(tokens=RetrievalTokens.entity_linking(), prompt_template="Q: {question}")


def test_tokens_of_the_paper() -> None:
    multi_hop, self_rag, linking = (preset(name).tokens for name in PAPER)
    assert multi_hop.all == [
        "[Question Representation]", "[Document Fragment Representation]", "<paragraph>", "</paragraph>"
    ]  # fmt: skip
    assert self_rag.all[:4] == multi_hop.all and len(self_rag.generation) == 13
    assert linking.all == ["[LK]", "[SE]", "[_CONTINUE_]"]


def test_what_takes_the_place_of_what() -> None:
    settings = OneGenConfig(scale=5.0, answer_prefix="A:")
    assert with_preset(settings, RetrievalTokens.self_rag()).answer_prefix == "A:"
    assert with_preset(settings, "multi-hop-paper").answer_prefix == "<FINAL-ANSWER>"
    assert with_preset(settings, "multi-hop-paper").scale == 5.0
    whole = OneGenConfig(scale=7.0)
    assert with_preset(settings, whole) is whole
    assert settings == OneGenConfig(scale=5.0, answer_prefix="A:")


@pytest.mark.parametrize(
    ("unknown", "error", "message"),
    [
        ("multihop", ValueError, "preset='multihop' is unknown: choose one of .*multi-hop-paper"),
        (
            ["[RQ]"],
            TypeError,
            r"preset=\['\[RQ\]'\] must be the name of a preset, .* or a OneGenConfig, got list",
        ),
    ],
)
def test_unknown_presets(unknown: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        with_preset(OneGenConfig(), unknown)


def test_presets_that_a_tokenizer_fits(base_tokenizer: Any) -> None:
    assert fitting_presets(base_tokenizer) == []
    tokenizer = copy.deepcopy(base_tokenizer)
    RetrievalTokens.self_rag_paper().add_to(tokenizer)
    assert fitting_presets(tokenizer) == ["self-rag-paper", "multi-hop-paper"]


@pytest.mark.parametrize("name", PAPER)
def test_prompts_are_written_as_they_are(tokenizer: Any, name: str) -> None:
    settings = preset(name)
    prompt = render_prompt("{Why}?", tokenizer, settings)
    assert prompt == settings.prompt_template.format(question="{Why}?")
    assert "<|im_start|>" not in prompt
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": "Because."}]
    around, answer, end = render(messages, tokenizer, settings)
    assert (around.text, answer.text, end.text) == (prompt, "Because.", f" {tokenizer.eos_token}")


def test_a_recipe_takes_the_formats_too() -> None:
    settings = FormatArguments(preset="multi-hop-paper", max_inserted_tokens=99).apply_to(OneGenConfig(scale=3.0))
    assert settings == with_preset(OneGenConfig(scale=3.0), "multi-hop-paper").__class__.from_dict(
        {**with_preset(OneGenConfig(scale=3.0), "multi-hop-paper").to_dict(), "max_inserted_tokens": 99}
    )


def test_paragraph_tags_go_together() -> None:
    with pytest.raises(ValueError, match="paragraph_open=None and paragraph_close='</paragraph>' go together"):
        RetrievalTokens(paragraph_open=None)
