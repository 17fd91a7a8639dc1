"""What was retrieved in earlier turns of a chat stands in the prompt of the next one, where it stood then."""

from __future__ import annotations

from typing import Any

import pytest

from onegen_hf import OneGenConfig
from onegen_hf.data.conversations import RoleEncoder
from onegen_hf.data.prompts import prompt_ids

TIN_BOAT = {"id": "d0", "title": "Tin Boat", "text": "Tin Boat is a film by Ada Moll.", "score": 0.5}
ADA = {"id": "d1", "title": "Ada Moll", "text": "Ada Moll was born in Fern Bay."}
CONTENT = "Who made it? Ada Moll\nWhere was she born? Fern Bay\nAnswer: Fern Bay"
FIRST = {"query": "Who made it?", "position": 12, "passages": [TIN_BOAT]}
SECOND = {"query": "Where was she born?", "position": 41, "passages": [ADA, TIN_BOAT]}
READ = (
    "Who made it?[RQ]<paragraph>Tin Boat\nTin Boat is a film by Ada Moll.</paragraph> Ada Moll\n"
    "Where was she born?[RQ]<paragraph>Ada Moll\nAda Moll was born in Fern Bay.</paragraph>"
    "<paragraph>Tin Boat\nTin Boat is a film by Ada Moll.</paragraph> Fern Bay\nAnswer: Fern Bay"
)


def chat(content: str = CONTENT, retrievals: Any = (FIRST, SECOND), role: str = "assistant") -> list[dict[str, Any]]:
    turn = {"role": role, "content": content, "retrievals": retrievals}
    return [{"role": "user", "content": "Where?"}, turn, {"role": "user", "content": "When?"}]


def trained(tokenizer: Any, config: OneGenConfig, answer: str) -> list[int]:
    """The same chat as a training example, up to its last answer."""
    messages = [*chat(), {"role": "assistant", "content": "Now."}]
    messages[1] = {"role": "assistant", "content": answer}
    encoded = RoleEncoder(tokenizer, config).encode(messages)
    last = len(tokenizer("Now.<|im_end|>\n", add_special_tokens=False)["input_ids"])
    return encoded.input_ids[:-last]


@pytest.mark.parametrize("position", [True, False], ids=["with positions", "by the queries"])
def test_the_prompt_is_that_of_training(tokenizer: Any, position: bool) -> None:
    config = OneGenConfig()
    hops = [{n: v for n, v in hop.items() if position or n != "position"} for hop in (FIRST, SECOND)]
    ids = prompt_ids(tokenizer, config, chat(retrievals=hops))
    assert ids == trained(tokenizer, config, READ)
    assert READ in tokenizer.decode(ids)


@pytest.mark.parametrize("trimmed", ["   " + CONTENT, "\n\n" + CONTENT + "\n"])
def test_a_client_may_have_trimmed_the_content(tokenizer: Any, trimmed: str) -> None:
    # Positions of what the model wrote, which the client stripped.
    shift = len(trimmed) - len(trimmed.lstrip())
    hops = [{**hop, "position": hop["position"] + shift} for hop in (FIRST, SECOND)]
    assert prompt_ids(tokenizer, OneGenConfig(), chat(retrievals=hops)) == prompt_ids(
        tokenizer, OneGenConfig(), chat()
    )


def test_a_turn_that_began_with_its_retrieval(tokenizer: Any) -> None:
    hop = {"query": "Where?", "position": 0, "passages": [ADA]}
    ids = prompt_ids(tokenizer, OneGenConfig(), chat("Fern Bay. Where?", [hop]))
    expected = (
        "assistant\n[RQ]<paragraph>Ada Moll\nAda Moll was born in Fern Bay.</paragraph>Fern Bay. Where?<|im_end|>"
    )
    assert expected in tokenizer.decode(ids)


def test_no_hop_and_no_passage(tokenizer: Any) -> None:
    config = OneGenConfig()
    plain = [{name: message[name] for name in ("role", "content")} for message in chat()]
    for nothing in (None, []):
        assert prompt_ids(tokenizer, config, chat(retrievals=nothing)) == prompt_ids(tokenizer, config, plain)
    empty = prompt_ids(tokenizer, config, chat(retrievals=[{"query": "Who made it?", "passages": []}]))
    assert "Who made it?[RQ]<paragraph></paragraph> Ada" in tokenizer.decode(empty)


def test_a_passage_is_cut_as_in_decoding_and_holds_no_control_token(tokenizer: Any) -> None:
    config = OneGenConfig(max_inserted_tokens=8)
    long = {"title": "", "text": "[RQ]<|im_end|></paragraph>" + "Fern Bay " * 50}
    ids = prompt_ids(tokenizer, config, chat(retrievals=[{"query": "Who made it?", "passages": [long]}]))
    query, end, close = (tokenizer.convert_tokens_to_ids(name) for name in ("[RQ]", "<|im_end|>", "</paragraph>"))
    assert ids.count(query) == 1 and ids.count(close) == 1
    assert ids.index(close) - ids.index(query) == 10  # the tag, eight tokens, the tag
    assert ids.count(end) == 3


@pytest.mark.parametrize(
    ("retrievals", "error", "message"),
    [
        ("Who?", TypeError, r"messages: retrievals='Who\?' must be a list of mappings with 'passages'"),
        ([{"query": "Who?"}], TypeError, r"retrievals\[0\]=.* must be a mapping with a list of 'passages'"),
        ([FIRST, {"passages": "x"}], TypeError, r"retrievals\[1\]=.* must be a mapping"),
        ([{"passages": [], "query": 5}], TypeError, r"retrievals\[0\]: query=5 must be text"),
        ([{"passages": [], "position": -1}], ValueError, r"retrievals\[0\]: position=-1 must be at least 0"),
        ([{"passages": [{"id": "d"}]}], ValueError, r"passage 0 \(id 'd'\) has no text"),
    ],
)
def test_malformed_retrievals(tokenizer: Any, retrievals: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        prompt_ids(tokenizer, OneGenConfig(), chat(retrievals=retrievals))


def test_only_the_assistant_retrieves(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="a message of the role 'user': only the assistant's turns have them"):
        prompt_ids(tokenizer, OneGenConfig(), chat(role="user"))
