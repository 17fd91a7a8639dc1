"""Pages stand alone, are well formed whatever they show, and tell what they should."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evaluation_setup import checkpoint, repository

from onegen_hf.cli.evaluate import main as evaluate
from onegen_hf.evaluation.display.histogram import best_threshold, histogram
from onegen_hf.linking.display import mention_page
from onegen_hf.pipelines.display import trace_page

HOSTILE = "</title><script>alert(1)</script>\x00\u202e & \"'<b>"


def body(page: str) -> ElementTree.Element:
    """The page's content, which must be well formed, and the page must need nothing from elsewhere."""
    assert page.startswith("<!DOCTYPE html>") and 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"<script|<link|<img|\bsrc=|\bhref=|url\(|@import|https?://", page)
    return ElementTree.fromstring(page[page.index("<body>") : page.index("</html>")])


def text_of(element: ElementTree.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def result(text: str, **changes: Any) -> dict[str, Any]:
    passage = {"id": text, "title": text, "text": text, "score": -0.25}
    usage = dict(prompt_tokens=1, generated_tokens=2, retrieved_tokens=3, forwarded_tokens=5, forward_calls=3)
    return {
        "answer": text, "text": text, "retrievals": [{"hop": 0, "query": text, "passages": [passage]}],
        "usage": usage, "stop_reason": "eos", "retrieval_stopped": None, **changes,
    }  # fmt: skip


def test_a_trace() -> None:
    page = trace_page([("Where?", result("Fern Bay")), ("Why?", result("x", answer="", retrievals=[]))], title="A & B")
    shown = text_of(body(page))
    assert "Where? Fern Bay [RQ]" in shown and "5 went through the decoder in 3 steps" in shown
    assert "No answer was written." in shown and "Nothing was retrieved." in shown
    assert 'value="0.000">-0.250</meter> -0.250' in page
    withheld = result("x", answer="", retrieval_confidence=0.414, answer_threshold=0.506)
    assert "not answer this: best score 0.41, threshold 0.51" in text_of(body(trace_page([("Why?", withheld)])))
    stopped = result("x", stop_reason="max_new_tokens", retrieval_stopped="max_hops")
    assert "stopped: max_new_tokens. No further retrieval: max_hops." in text_of(body(trace_page([("?", stopped)])))


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(), max_size=20))
def test_any_text(text: str) -> None:
    page = trace_page([(text, result(text))], title=text, query_token=text)
    page.encode("utf-8")
    body(page)


def test_hostile_text_is_text() -> None:
    mention = {
        "mention": HOSTILE,
        "start": 0,
        "end": len(HOSTILE),
        "entity_id": HOSTILE,
        "name": HOSTILE,
        "score": 1.0,
    }
    for page in (
        trace_page([(HOSTILE, result(HOSTILE))], title=HOSTILE),
        mention_page([(HOSTILE, [mention])], title=HOSTILE, descriptions={HOSTILE: HOSTILE}),
    ):
        assert "&lt;script&gt;" in page
        assert not list(body(page).iter("script"))


def test_the_table_of_mentions() -> None:
    mention = {"mention": "Ada", "start": 0, "end": 3, "entity_id": "Q1", "name": "Ada Moll", "score": 0.5}
    nil = {**mention, "entity_id": "NIL", "name": ""}
    table = body(mention_page([("Ada", [mention]), ("Ada", [nil])], descriptions={"Q1": "A director."})).find(
        ".//table"
    )
    assert table is not None
    assert [text_of(row) for row in table.iter("tr")][1] == "Ada Ada Moll Q1 0.500 0.500 A director."
    plain = body(mention_page([("Ada", [mention])])).find(".//table")
    assert plain is not None and len(list(plain.iter("th"))) == 3


@pytest.mark.xdist_group("evaluation")
@pytest.mark.parametrize("task", ["rag", "retrieval"])
def test_an_evaluation(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint(), repository()
    page = tmp_path / "pages" / "evaluation.html"
    evaluate([
        "--model", str(checkpoint()), "--dataset", str(repository()), "--output-dir", str(tmp_path / "out"),
        "--max-new-tokens", "48", "--device", "cpu", "--task", task, "--html", str(page),
    ])  # fmt: skip
    assert f"The page is in {page}" in capsys.readouterr().err
    tree = body(page.read_text(encoding="utf-8"))
    cases = [element for element in tree.iter("article")]
    # Examples 2, 4 and 5 of the sample corpus were not learned; they are 4 of the 10.
    assert f"{len(cases)} of 10 examples." in text_of(tree) and cases
    assert tree.find(".//svg/rect") is not None and len(list(tree.iter("input"))) >= 5
    shown = text_of(cases[0])
    assert "Gold passage of hop 1" in shown and "Retrieved" in shown
    assert ("Gold answer" in shown) == (task == "rag")


def test_the_threshold_of_a_histogram() -> None:
    made = histogram([0.5, 0.6, 0.9], [0.1, 0.2, 0.55])
    assert made.threshold == 0.5 and made.kept == 1.0 and made.dropped == pytest.approx(2 / 3)
    assert sum(one.right for one in made.bins) == sum(one.wrong for one in made.bins) == 3 and made.highest == 1
    assert histogram([0.5], []).threshold is None and histogram([], []).bins == []
    assert sum(one.right for one in histogram([0.5, 0.5], []).bins) == 2


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_no_threshold_makes_fewer_errors(right: list[float], wrong: list[float]) -> None:
    def errors(threshold: float) -> int:
        return sum(score < threshold for score in right) + sum(score >= threshold for score in wrong)

    assert errors(best_threshold(right, wrong)) == min(errors(threshold) for threshold in [*right, *wrong])
