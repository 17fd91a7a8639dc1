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


def test_settings_of_a_newer_version_are_named_with_the_remedy() -> None:
    message = r"the settings \['temperature'\], which onegen-hf \S+ does not know and ignores. .*pip install --upgrade"
    with pytest.warns(UserWarning, match=message):
        assert OneGenConfig.from_dict({"scale": 3.0, "temperature": 1}) == OneGenConfig(scale=3.0)


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("max_inserted_tokns", "max_inserted_tokens"),
        ("maxInsertedTokens", "max_inserted_tokens"),
        ("Scale", "scale"),
        ("answer_prefx", "answer_prefix"),
        ("max_embeded_tokens", "max_embedded_tokens"),
    ],
)
def test_a_misspelt_setting_is_refused(name: str, similar: str) -> None:
    with pytest.raises(
        ValueError, match=rf"onegen\.{name} is no setting, did you mean '{similar}'\? Correct the name"
    ):
        OneGenConfig.from_dict({"scale": 3.0, name: 5})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"similarity": "dot"}, "similarity='dot' is unknown: choose one of 'cosine'"),
        ({"scale": 0}, "scale=0 must be above 0"),
        ({"scale": float("nan")}, "scale=nan must be a finite number"),
        ({"scale": float("inf")}, "scale=inf must be a finite number"),
        ({"granularity": "token"}, "granularity='token' is unknown: choose one of 'passage', 'sentence'"),
        ({"link_threshold": float("nan")}, "link_threshold=nan must be a finite number"),
        ({"max_inserted_tokens": 0}, "max_inserted_tokens=0 must be at least 1"),
        ({"max_embedded_tokens": 0}, "max_embedded_tokens=0 must be at least 1"),
        ({"passage_template": "{title}"}, r"passage_template='\{title\}' must contain \{text\}"),
        ({"passage_template": "{x}{text}"}, r"passage_template='\{x\}\{text\}' has the field \{x\}, unknown"),
        ({"passage_template": "{text"}, r"passage_template='\{text' is no template \(expected '}'"),
        ({"prompt_template": "Q"}, r"prompt_template='Q' must contain \{question\}"),
        (
            {"prompt_template": "{question:>9999999999}"},
            r"prompt_template=.* has the field \{question\}, .* more than",
        ),
        (
            {"prompt_template": "{question.__class__}"},
            r"has the field \{question.__class__\}, unknown or more than a name",
        ),
        ({"embedding_template": "{title}"}, r"embedding_template='\{title\}' must contain \{text\}"),
        ({"mention_tags": "html"}, "mention_tags='html' is unknown: choose one of 'token', 'text'"),
        ({"tokens": {"query": "[A]", "document": "[A]"}}, "must differ from each other"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OneGenConfig(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": "20"}, "scale='20' must be a number: leave out the quotes"),
        (
            {"max_inserted_tokens": "128"},
            "max_inserted_tokens='128' must be an integer: leave out the quotes",
        ),
        ({"max_inserted_tokens": 1.5}, "max_inserted_tokens=1.5 must be an integer"),
        ({"max_embedded_tokens": True}, "max_embedded_tokens=True must be an integer"),
        ({"passage_template": 5}, "passage_template=5 must be text"),
        ({"prompt_template": None}, "prompt_template=None must be text"),
        ({"system_prompt": ["x"]}, r"system_prompt=\['x'\] must be text"),
        ({"chat_template": 3}, "chat_template=3 must be text"),
        ({"answer_prefix": None}, "answer_prefix=None must be text"),
        ({"sentence_connector": 1}, "sentence_connector=1 must be text"),
        ({"default_index": 1}, "default_index=1 must be text"),
        ({"tokens": 5}, "tokens=5 must be a RetrievalTokens, got int"),
        ({"tokens": "multi-hop"}, "tokens='multi-hop' must be a RetrievalTokens, got str"),
    ],
)
def test_settings_of_a_wrong_type_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        OneGenConfig(**arguments)
    with pytest.raises(ValueError, match=f"^onegen.{message}"):
        OneGenConfig.from_dict(arguments)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ([1], r"onegen=\[1\] must be a mapping of settings: mend the section 'onegen' of config.json"),
        ("multi-hop", "onegen='multi-hop' must be a mapping"),
        (None, "onegen=None must be a mapping"),
        ({1: 2}, "onegen={1: 2} must be a mapping"),
        ({"tokens": 5}, "onegen.tokens=5 must be a RetrievalTokens"),
        ({"tokens": {"query": 5}}, "onegen.tokens.query=5 must be text"),
        ({"tokens": {"question": "[Q]"}}, r"onegen.tokens has the unknown names \['question'\]"),
        ({"tokens": {"generation": "[X]"}}, r"onegen.tokens.generation='\[X\]' must be a list or tuple of tokens"),
        ({"max_passage_length": "128"}, "onegen.max_inserted_tokens='128' must be an integer"),
        ({"scale": float("inf")}, "onegen.scale=inf must be a finite number"),
    ],
)
def test_a_broken_section_is_named(section: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        OneGenConfig.from_dict(section)
    if section is not None:
        backbone = tiny_config("llama_tied")
        backbone.onegen = section
        named = message if isinstance(section, dict) and 1 not in section else "onegen"
        with pytest.raises(ValueError, match=f"^the config has an? .*{named}"):
            OneGenConfig.of(backbone)
