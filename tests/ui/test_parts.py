"""What the page is made of, without a browser: traces, costs, passages of pasted text, and that nothing is markup."""

from __future__ import annotations

import copy
import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from support.decoding_setup import PROMPTS, Setup, tokens_fed
from transformers import LogitsProcessorList, pipeline

from onegen_hf import PassageIndex
from onegen_hf.generation.events import AnswerEvent, DoneEvent, PassagesEvent, QueryEvent, TokenEvent
from onegen_hf.ui import own_passages
from onegen_hf.ui.chat_messages import asked, heard, turn
from onegen_hf.ui.cost import Cost, cost_of
from onegen_hf.ui.index_pages import PER_PAGE, page_of
from onegen_hf.ui.linked_text import linked_html
from onegen_hf.ui.own_passages import passages_of
from onegen_hf.ui.trace import Trace

HOSTILE = "<script>alert(1)</script> \x1b[2J & \"'"


@pytest.fixture(scope="module")
def rag(llama: Setup) -> Any:
    return pipeline("onegen-rag", model=llama.model, tokenizer=copy.deepcopy(llama.tokenizer), index=llama.index)


def trace_of(rag: Any, llama: Setup, **options: Any) -> Trace:
    trace = Trace()
    asks = LogitsProcessorList([llama.script(hops=2)])
    for event in rag.stream(PROMPTS[0], max_new_tokens=24, logits_processor=asks, **options):
        trace.add(event)
        assert trace.html()  # it can be drawn at any time
    return trace


def test_a_trace_of_a_real_answer(rag: Any, llama: Setup) -> None:
    trace = trace_of(rag, llama, k=2)
    result = trace.done.result  # type: ignore[union-attr]
    assert [hop.query for hop in trace.hops] == [retrieval.query for retrieval in result.retrievals]
    assert len(trace.hops) == 2 and len(trace.pieces) == 3
    html = trace.html()
    assert html.count('<details class="hop" open>') == 2 and html.count('<li class="passage">') == 4
    assert 'aria-busy="false"' in html and "The model wrote none." in html


def test_the_cost_is_that_of_reading_the_text_again_up_to_each_query(rag: Any, llama: Setup) -> None:
    trace = trace_of(rag, llama)
    result = trace.done.result  # type: ignore[union-attr]
    asks = LogitsProcessorList([llama.script(hops=2)])
    with tokens_fed(llama.model) as fed:
        row = rag._forward(rag.preprocess(PROMPTS[0]), max_new_tokens=24, logits_processor=asks)["rows"][0][0]
    forwarded = sum(map(len, fed))
    again = sum(retrieval.position + 1 for retrieval in row.retrievals)
    assert trace.cost() == Cost(forwarded, forwarded + again, forwarded + again)
    assert forwarded == result.usage.forwarded_tokens


def test_costs() -> None:
    assert cost_of(161, [36, 84]) == Cost(161, 281, 281)
    assert cost_of(20, []) == Cost(20, 20, 20)


def events(text: str) -> list[Any]:
    passage = {"id": "a", "title": text, "text": f"{text} Fern Bay.", "score": 0.5, "meta": {"x": text}}
    start = len(text) + 1
    citation = {"hop": 0, "passage_id": "a", "start": start, "end": start + 8}
    usage = {"prompt_tokens": 5, "generated_tokens": 4, "retrieved_tokens": 6, "forwarded_tokens": 14}
    return [
        TokenEvent(text, 1, 0),
        QueryEvent(0, text, 0.25),
        PassagesEvent(0, text, (passage,), text, 6),
        TokenEvent(text, 1, 1),
        AnswerEvent("Fern Bay", True, (citation,)),
        DoneEvent(usage, "max_new_tokens", {"retrieval_stopped": "max_hops"}),
    ]


def test_nothing_is_markup() -> None:
    trace = Trace()
    for event in events(HOSTILE):
        trace.add(event)
    html = trace.html()
    assert "<script" not in html and "\x1b" not in html and html.count("&lt;script&gt;") > 4
    assert 'class="meta">{&#34;x&#34;: &#34;&lt;script&gt;' in html.replace("&quot;", "&#34;")
    assert "<mark>Fern Bay</mark>" in html
    assert "p = 0.250" in html and "most tokens allowed" in html and "once more" in html


def test_a_trace_in_the_middle_of_things() -> None:
    trace, states = Trace(), []
    for event in [None, *events("Who?")]:
        if event is not None:
            trace.add(event)
        states.append(trace.html())
    assert "Reading the question" in states[0] and "Searching" in states[2] and "Reading the passages" in states[3]
    assert all('aria-busy="true"' in html for html in states[:-1])
    assert trace.cost() == Cost(14, 20, 20)  # 5 of the prompt and 1 up to the query


def test_a_chat_shows_retrievals_and_reads_them_in_the_next_turn() -> None:
    trace = Trace()
    for event in events("*bold* <b>"):
        trace.add(event)
    shown = [{"role": "user", "content": "Where?"}, *turn(trace), {"role": "user", "content": "And then?"}]
    assert shown[1]["metadata"]["title"].startswith("Retrieved") and "*bold*" in shown[1]["content"]
    assert shown[2] == {"role": "assistant", "content": "Fern Bay"}
    # An answer that was interrupted keeps what was retrieved.
    (hop,) = heard(trace)["retrievals"]
    assert heard(trace)["content"] == "*bold* <b>" * 2 and hop["position"] == 10 and len(hop["passages"]) == 1
    trace.hops[0].passages = None
    assert heard(trace)["retrievals"] == []


def test_the_next_turn_reads_what_the_last_one_retrieved(rag: Any, llama: Setup) -> None:
    trace = Trace()
    asks = LogitsProcessorList([llama.script(hops=2)])
    for event in rag.stream(PROMPTS[0], max_new_tokens=24, logits_processor=asks):
        trace.add(event)
        # At every moment something that a chat can go on from.
        assert rag.preprocess([{"role": "user", "content": "Who?"}, heard(trace), {"role": "user", "content": "Why?"}])
    assert trace.done is not None and heard(trace) == trace.done.result.as_message()  # type: ignore[attr-defined]
    assert len(heard(trace)["retrievals"]) == 2


def test_a_chat_shows_text_as_it_is_and_no_markup() -> None:
    for text in ("C*-algebra (1954).", "<b> & &lt; &amp", HOSTILE.replace("\x1b", "")):
        trace = Trace(pieces=["x"], answer=AnswerEvent(text, True))
        for message in (turn(trace)[0], asked(text)):
            assert unescape(message["content"]) == text and "<" not in message["content"]
        assert heard(trace)["content"] == "x"


def test_pasted_text() -> None:
    text = "First.\r\n\r\n# Fern Bay\nA town.\nBy the sea.\n\nMore of it.\n\n\n# Tin Boat\n\nA film."
    passages = passages_of(text, [])
    assert [(p.id, p.title, p.text) for p in passages] == [
        ("pasted-1", "", "First."),
        ("pasted-2", "Fern Bay", "A town.\nBy the sea."),
        ("pasted-3", "Fern Bay", "More of it."),
        ("pasted-4", "Tin Boat", "A film."),
    ]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Ada Moll made Tin Boat.")
    lines = [{"id": "x", "text": "One."}, {"id": "x", "text": "Two.", "meta": {"a": 1}}, {"text": "Three."}]
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, lines)))
    passages = passages_of("Pasted.", [tmp_path / "notes.txt", tmp_path / "more.jsonl"])
    assert [p.text for p in passages] == ["Pasted.", "Ada Moll made Tin Boat.", "One.", "Two.", "Three."]
    assert len({p.id for p in passages}) == 5 and passages[3].meta == {"a": 1}
    assert {"more.jsonl/x", "more.jsonl/more-3"} <= {p.id for p in passages}


@pytest.mark.parametrize(
    ("text", "name", "match"), [(" \n", None, "no text yet"), ("", "a.exe", "a.exe: give one of")]
)
def test_texts_that_are_refused(tmp_path: Path, text: str, name: str | None, match: str) -> None:
    files = [] if name is None else [tmp_path / name]
    for file in files:
        file.write_text("x")
    with pytest.raises(ValueError, match=match):
        passages_of(text, files)


def test_too_much_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_passages, "MOST_CHARACTERS", 10)
    with pytest.raises(ValueError, match="11 characters; up to 10"):
        passages_of("x" * 11, [])


@pytest.mark.parametrize(("page", "first"), [(1, 0), (2, PER_PAGE), (99, PER_PAGE), (-3, 0)])
def test_pages(llama: Setup, page: int, first: int) -> None:
    index = PassageIndex.build(llama.model, llama.tokenizer, [f"Text {n}." for n in range(13)], show_progress=False)
    html = page_of(index, page)
    assert f"Text {first}." in html and html.count('<li class="passage">') == min(PER_PAGE, 13 - first)


def test_linked_text(llama: Setup) -> None:
    index = PassageIndex.build(
        llama.model, llama.tokenizer, [{"id": "Q1", "title": "Fern Bay", "text": "A town. " * 50}], show_progress=False
    )
    text = f"{HOSTILE} Fern Bay and Old Mill"
    at, nil = text.index("Fern"), text.index("Old")
    mentions = [
        {"mention": "Fern Bay", "start": at, "end": at + 8, "entity_id": "Q1", "name": "Fern Bay", "score": 0.75},
        {"mention": "Old Mill", "start": nil, "end": nil + 8, "entity_id": "NIL", "name": "", "score": 0.1},
    ]
    html = linked_html(text, mentions, index)
    assert "<script" not in html and '<mark class="linked">Fern Bay<sup>1</sup></mark>' in html
    assert '<mark class="nil">Old Mill<sup>2</sup></mark>' in html and "none of the catalogue" in html
    assert "0.750" in html and "Q1" in html and "A town. A town." in html and " …" in html
    assert "marked no mention" in linked_html("Nothing.", [], index)


def test_a_withheld_answer_is_not_shown() -> None:
    *others, _, done = events("<b>")
    trace = Trace()
    for event in (*others, AnswerEvent("", False)):
        trace.add(event)
    assert "The model wrote none." in trace.html()
    trace.add(DoneEvent(done.usage, "eos", {**done.result, "retrieval_confidence": 0.414, "answer_threshold": 0.506}))
    reason = "The passages do not answer this: best score 0.41, threshold 0.51"
    assert reason in trace.html() and turn(trace)[-1]["content"] == reason
