"""`pipeline("onegen-entity-linking")` over a tiny random model."""

from __future__ import annotations

import copy
import json
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.linking_setup import ENTITIES, MarkMentions, linking_setup
from transformers import pipeline

from data_builders.entity_linking.kinds import instruction_for
from onegen_hf import PassageIndex
from onegen_hf.linking.window_inputs import WindowInput
from onegen_hf.pipelines import OneGenEntityLinkingPipeline

TEXTS = ["Ada Moll met Ben Oak in Fern Bay, by the sea.", "A boat \U0001f600\u200d\u05d0", "[LK] in Elm Hill"]


@pytest.fixture(scope="module")
def link(base_tokenizer: Any) -> OneGenEntityLinkingPipeline:
    setup = linking_setup(copy.deepcopy(base_tokenizer))
    index = PassageIndex.build(setup.model, setup.tokenizer, ENTITIES, show_progress=False)
    return pipeline("onegen-entity-linking", model=setup.model, tokenizer=setup.tokenizer, index=index)


def marks(link: OneGenEntityLinkingPipeline, count: int) -> dict[str, Any]:
    return {"logits_processor": [MarkMentions(link.markup, count)]}


def without_scores(results: Any) -> Any:
    return [[(m["start"], m["end"], m["entity_id"]) for m in result] for result in results]


def test_result_of_a_text(link: OneGenEntityLinkingPipeline) -> None:
    found = link(TEXTS[0], top_k=3, **marks(link, 3))
    assert len(found) == 3
    for mention in found:
        assert list(mention) == ["mention", "start", "end", "entity_id", "name", "score", "candidates"]
        assert mention["mention"] == TEXTS[0][mention["start"] : mention["end"]]
        assert len(mention["candidates"]) == 3
        best = mention["candidates"][0]
        assert best == {name: mention[name] for name in ("entity_id", "name", "score")}
        assert [c["score"] for c in mention["candidates"]] == sorted(c["score"] for c in mention["candidates"])[::-1]
        assert {"id": best["entity_id"], "title": best["name"]}.items() <= ENTITIES[
            int(best["entity_id"][1]) - 1
        ].items()
    assert [mention["start"] for mention in found] == sorted(mention["start"] for mention in found)


def test_items_are_attributes(link: OneGenEntityLinkingPipeline) -> None:
    result = link(TEXTS[0], return_dict=True, **marks(link, 2))
    mention = result.mentions[0]
    assert mention.entity_id == mention["entity_id"] and mention.candidates[0].name == mention["candidates"][0]["name"]
    assert result.usage.forwarded_tokens == result["usage"]["forwarded_tokens"]
    assert json.loads(json.dumps(result)) == result


def test_no_mention_and_no_text(link: OneGenEntityLinkingPipeline) -> None:
    assert link(TEXTS[0], **marks(link, 0)) == []
    assert link(["", " \n"]) == [[], []]
    assert link([]) == [] and link(Dataset.from_list([])) == []


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batches(link: OneGenEntityLinkingPipeline, batch_size: int) -> None:
    texts = [*TEXTS, "", TEXTS[0] * 2]
    alone = [link(text, **marks(link, 2)) for text in texts]
    assert without_scores(link(texts, batch_size=batch_size, **marks(link, 2))) == without_scores(alone)
    assert any(alone)


def test_a_dataset(link: OneGenEntityLinkingPipeline) -> None:
    expected = without_scores(link(TEXTS))
    assert without_scores(link(Dataset.from_dict({"text": TEXTS}), batch_size=2)) == expected
    spans = [[[0, 3]], [], [[0, 4]]]
    found = list(link(Dataset.from_dict({"text": TEXTS, "spans": spans}), batch_size=2))
    assert [[m["mention"] for m in mentions] for mentions in found] == [["Ada"], [], ["[LK]"]]


def test_all_mentions_are_searched_at_once(link: OneGenEntityLinkingPipeline, monkeypatch: Any) -> None:
    calls: list[int] = []
    search = link.index.search
    monkeypatch.setattr(link.index, "search", lambda e, k: calls.append(len(e)) or search(e, k))
    link(TEXTS[0], **marks(link, 4))
    assert calls == [4]


def test_nil(link: OneGenEntityLinkingPipeline) -> None:
    first = link(TEXTS[0], **marks(link, 2))
    threshold = max(mention["score"] for mention in first)
    found = link(TEXTS[0], threshold=threshold, **marks(link, 2))
    assert [(m["entity_id"], m["name"]) for m in found if m["score"] < threshold] == [("NIL", "")]
    assert [m["score"] for m in found] == [m["score"] for m in first]
    assert all(mention["candidates"] for mention in found)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_long_texts(link: OneGenEntityLinkingPipeline, batch_size: int) -> None:
    text = " ".join(f"Ada{number} met Ben Oak." for number in range(40))
    found = link(text, max_window_tokens=40, window_overlap=12, batch_size=batch_size, **marks(link, 1000))
    spans = [(m["start"], m["end"]) for m in found]
    assert spans == sorted(spans)
    assert all(one[1] <= other[0] for one, other in zip(spans, spans[1:], strict=False))
    assert {text[a:b] for a, b in spans} >= {f"Ada{number}" for number in range(40)}
    assert all(m["mention"] == text[m["start"] : m["end"]] for m in found)


@pytest.mark.parametrize("mentions", [0, 3, 1000])
def test_windows_end_where_the_next_one_takes_over(
    link: OneGenEntityLinkingPipeline, mentions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(f"Ada{number} met Ben Oak." for number in range(30))
    options = {"max_window_tokens": 40, "window_overlap": 20, "return_dict": True, **marks(link, mentions)}
    found = link(text, **options)
    monkeypatch.setattr(WindowInput, "owned_end", None)
    whole = link(text, **options)
    assert without_scores([found.mentions]) == without_scores([whole.mentions])
    assert found.usage.generated_tokens < whole.usage.generated_tokens
    assert found.aligned


def test_a_text_longer_than_the_context(link: OneGenEntityLinkingPipeline) -> None:
    text = "Fern Bay and Elm Hill are towns. " * 24
    found = link(text, **marks(link, 25))
    assert found[-1]["end"] > len(text) - 300
    assert len({m["start"] for m in found}) == len(found)


def test_given_spans_equal_those_that_were_found(link: OneGenEntityLinkingPipeline) -> None:
    for text in TEXTS:
        found = link(text, **marks(link, 3))
        given = link({"text": text, "spans": [[m["start"], m["end"]] for m in found]})
        assert without_scores([given]) == without_scores([found])
        np.testing.assert_allclose([m["score"] for m in given], [m["score"] for m in found], atol=1e-4)


def test_given_spans_keep_their_order_and_need_no_decoding(
    link: OneGenEntityLinkingPipeline, monkeypatch: Any
) -> None:
    monkeypatch.setattr(type(link.model), "generate", lambda *_, **__: pytest.fail("nothing is to be generated"))
    forwards: list[torch.Size] = []
    handle = link.model.get_decoder().register_forward_hook(lambda *a: forwards.append(a[2][0].shape))
    try:
        found = link({"text": TEXTS[0], "spans": [[24, 32], [1, 5], [0, 1]]})
        assert link({"text": TEXTS[0], "spans": []}) == []
    finally:
        handle.remove()
    assert [m["mention"] for m in found] == ["Fern Bay", "da M", "A"]
    assert len(forwards) == 2


def test_given_spans_in_windows_and_batches(link: OneGenEntityLinkingPipeline) -> None:
    text = "Ada met Ben Oak. " * 30
    spans = [(17 * n, 17 * n + 3) for n in range(30)]
    inputs = [{"text": text, "spans": spans}, TEXTS[1], {"text": "Ada", "spans": [(0, 3)]}]
    for batch_size in (1, 4):
        found = link(inputs, batch_size=batch_size, max_window_tokens=60)
        assert [(m["start"], m["end"]) for m in found[0]] == spans
        assert [m["mention"] for m in found[2]] == ["Ada"]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[0, 3], [2, 5]], r"\[0, 3\] and \[2, 5\] overlap"),
        ([[3, 3]], "is empty or leaves the text"),
        ([[0, 99]], "is empty or leaves the text of 45 code points"),
        ([[0]], r"must be \[start, end\]"),
        ([["0", "3"]], r"must be \[start, end\]"),
        (["ab"], r"must be \[start, end\]"),
    ],
)
def test_faulty_spans(link: OneGenEntityLinkingPipeline, spans: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        link({"text": TEXTS[0], "spans": spans})


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        (5, {}, TypeError, "a text must be a string, got int"),
        ({"question": "x"}, {}, TypeError, "a text must be a string, got NoneType"),
        ("a \ud800 b", {}, ValueError, "half a surrogate pair"),
        ("a", {"top_k": 0}, ValueError, "top_k=0 must be at least 1"),
        ("a", {"mode": "spotting"}, ValueError, "mode='spotting' is unknown: choose one of"),
        ("a", {"decoding": "loose"}, ValueError, "decoding='loose' is unknown: choose one of"),
        ("a", {"num_beams": 2, "do_sample": True}, ValueError, "do_sample=True with num_beams=2"),
        ("a", {"boundaries": "token"}, ValueError, "boundaries='token' is unknown: choose one of"),
        ("a", {"max_window_tokens": 3}, ValueError, "max_window_tokens=3 must be at least 16"),
        ("a", {"instruction": "why " * 300}, ValueError, "leaves no room for a text beside the prompt"),
    ],
)
def test_faulty_input(
    link: OneGenEntityLinkingPipeline, text: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        link(text, **options)


def test_a_model_for_questions(llama: Any) -> None:
    with pytest.raises(ValueError, match="no continuation token"):
        pipeline("onegen-entity-linking", model=llama.model, tokenizer=llama.tokenizer, index=llama.index)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"decoding": "free", "max_new_tokens": 20}], ids=str)
def test_what_was_done(link: OneGenEntityLinkingPipeline, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a random model does not end what it writes freely
        plain = link(TEXTS, batch_size=2, **options)
        results = link(TEXTS, batch_size=2, return_dict=True, **options)
    for mentions, result in zip(plain, results, strict=True):
        assert list(result) == ["mentions", "aligned", "usage"]
        assert without_scores([result["mentions"]]) == without_scores([mentions])
        assert result["aligned"] == (options.get("decoding") != "free")
        usage = result["usage"]
        if "num_beams" not in options:
            # The end token, or the last one before the limit, need not be fed; nor what is copied after all choices.
            fed = usage["prompt_tokens"] + usage["generated_tokens"]
            assert fed - 4 <= usage["forwarded_tokens"] <= fed


def test_usage_of_windows_and_given_spans(link: OneGenEntityLinkingPipeline) -> None:
    text = "Ada met Ben Oak. " * 12
    one, many = (link(text, return_dict=True, max_window_tokens=n)["usage"] for n in (512, 30))
    assert many["prompt_tokens"] > one["prompt_tokens"]
    given = link({"text": "Ada", "spans": [[0, 3]]}, return_dict=True)
    assert given["aligned"] is True
    assert given["usage"]["generated_tokens"] == 0
    assert given["usage"]["forward_calls"] == 1
    assert given["usage"]["forwarded_tokens"] == given["usage"]["prompt_tokens"]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_beams(link: OneGenEntityLinkingPipeline, batch_size: int) -> None:
    found = link(TEXTS, num_beams=4, batch_size=batch_size)
    assert any(found)
    for text, mentions in zip(TEXTS, found, strict=True):
        given = link({"text": text, "spans": [[m["start"], m["end"]] for m in mentions]})
        np.testing.assert_allclose([m["score"] for m in given], [m["score"] for m in mentions], atol=1e-4)
        assert without_scores([given]) == without_scores([mentions])


def test_detection_needs_no_index(link: OneGenEntityLinkingPipeline) -> None:
    detect = pipeline("onegen-entity-linking", model=link.model, tokenizer=link.tokenizer, mode="detection")
    for text in TEXTS:
        expected = [{name: m[name] for name in ("mention", "start", "end")} for m in link(text)]
        assert detect(text) == link(text, mode="detection") == expected
    with pytest.raises(ValueError, match='mode="linking" needs the index'):
        detect(TEXTS[0], mode="linking")
    with pytest.raises(ValueError, match='spans are given, but mode="detection"'):
        detect({"text": TEXTS[0], "spans": [[0, 3]]})


def test_a_text_that_is_cut_off_is_no_secret(link: OneGenEntityLinkingPipeline) -> None:
    with pytest.warns(UserWarning, match="not written to its end"):
        link(TEXTS[0], max_new_tokens=3)


def test_kinds_are_said_in_the_instruction(link: OneGenEntityLinkingPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    instructions: list[str] = []
    prompt = link.markup.prompt
    monkeypatch.setattr(link.markup, "prompt", lambda text, said: (instructions.append(said), prompt(text, said))[1])
    link(TEXTS[0], kinds=["places", "persons"])
    assert {said for said in instructions if said} == {instruction_for("persons,places")}
    with pytest.raises(ValueError, match="both say what to mark"):
        link(TEXTS[0], kinds="names", instruction="Mark all.")
    with pytest.raises(ValueError, match="must be one or more of persons"):
        link(TEXTS[0], kinds="verbs")
    with pytest.raises(TypeError, match="kinds=3 must be kinds of mentions"):
        link(TEXTS[0], kinds=3)


def test_bias_and_drafts_of_the_checkpoint(link: OneGenEntityLinkingPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, many = (link(TEXTS[0], return_dict=True, opening_bias=bias) for bias in (0.0, 1e4))
    assert len(many.mentions) > len(plain.mentions)
    monkeypatch.setattr(link.model.onegen_config, "opening_bias", 1e4)
    monkeypatch.setattr(link.model.onegen_config, "draft_tokens", 8)
    drafted = link(TEXTS[0], return_dict=True)
    assert without_scores([drafted.mentions]) == without_scores([many.mentions])
    assert drafted.usage.rejected_tokens > 0
    # What was given goes before what the checkpoint says; written freely there is no bias.
    assert without_scores([link(TEXTS[0], opening_bias=0.0)]) == without_scores([plain.mentions])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        link(TEXTS[0], decoding="free", max_new_tokens=5)


def test_the_windows_of_a_text_are_decoded_together(link: OneGenEntityLinkingPipeline) -> None:
    text = "Ada met Ben Oak in Fern Bay. " * 8
    together = link(text, return_dict=True, max_window_tokens=30)
    singly = link(text, return_dict=True, max_window_tokens=30, batch_size=1)
    assert without_scores([together.mentions]) == without_scores([singly.mentions])
    assert together.usage.generated_tokens == singly.usage.generated_tokens
    # The instruction is read once for all windows.
    assert together.usage.forwarded_tokens < singly.usage.forwarded_tokens
    forwards: list[Any] = []
    forward = link._forward
    link._forward = lambda inputs, **options: (forwards.append(inputs["window"]), forward(inputs, **options))[1]
    try:
        link(text, max_window_tokens=30)
    finally:
        del link._forward
    sizes = [len(windows) for windows in forwards]
    assert sum(sizes) > 1 and len(sizes) == -(-sum(sizes) // 8)
