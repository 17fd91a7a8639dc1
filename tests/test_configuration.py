"""The `onegen` section of a config."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.tiny_models import tiny_config

from onegen_hf import OneGenConfig, RetrievalTokens


def test_round_trip_through_json() -> None:
    config = OneGenConfig(
        tokens=RetrievalTokens.entity_linking(), scale=5.0, granularity="sentence", max_embedded_tokens=64,
        system_prompt="Be brief.", default_index="org/index", link_threshold=0.5,
    )  # fmt: skip
    assert OneGenConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_attached_to_a_backbone_config(tmp_path: Any) -> None:
    backbone = tiny_config("llama_tied")
    assert OneGenConfig.of(backbone) is None
    OneGenConfig(scale=7.0).attach_to(backbone)
    backbone.save_pretrained(tmp_path)
    loaded = type(backbone).from_pretrained(tmp_path)
    assert loaded.model_type == "llama"
    assert OneGenConfig.of(loaded) == OneGenConfig(scale=7.0)


def test_defaults_are_multi_hop_cosine_20() -> None:
    config = OneGenConfig()
    assert config.tokens == RetrievalTokens.multi_hop()
    assert (config.similarity, config.scale, config.granularity) == ("cosine", 20.0, "passage")


def test_settings_of_a_newer_version_are_ignored_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"unknown settings \['temperature'\]: ignored"):
        assert OneGenConfig.from_dict({"scale": 3.0, "temperature": 1}) == OneGenConfig(scale=3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"similarity": "dot"}, "similarity='dot' is not supported: use 'cosine'"),
        ({"scale": 0}, "scale=0 must be positive"),
        ({"scale": float("nan")}, "scale=nan must be positive"),
        ({"granularity": "token"}, "granularity='token' must be 'passage' or 'sentence'"),
        ({"link_threshold": float("nan")}, "link_threshold=nan must be a finite score"),
        ({"max_inserted_tokens": 0}, "max_inserted_tokens=0 must be at least 1 token"),
        ({"max_embedded_tokens": 0}, "max_embedded_tokens=0 must be at least 1 token"),
        ({"passage_template": "{title}"}, r"passage_template='\{title\}' must contain \{text\}"),
        ({"prompt_template": "Q"}, r"prompt_template='Q' must contain \{question\}"),
        ({"embedding_template": "{title}"}, r"embedding_template='\{title\}' must contain \{text\}"),
        ({"mention_tags": "html"}, "mention_tags='html' must be 'token' or 'text'"),
        ({"tokens": {"query": "[A]", "document": "[A]"}}, "must differ from each other"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OneGenConfig(**arguments)
