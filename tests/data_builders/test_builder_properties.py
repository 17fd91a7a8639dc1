"""Whatever the record, query tokens, positives and negatives agree."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from data_builders.documents import DocumentStore
from data_builders.multi_hop.conversion import add_context, record_to_example
from data_builders.schema import validate_example

WORD = st.text(alphabet="abcdeé #\"'.-", min_size=1, max_size=12).filter(str.strip)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    titles = draw(st.lists(WORD, min_size=1, max_size=8, unique=True))
    hops = draw(st.lists(st.tuples(WORD, st.none() | WORD, st.sampled_from(titles)), min_size=1, max_size=5))
    hops = [(question, answer, title) for question, answer, title in hops if title.strip()]
    return {
        "type": draw(st.sampled_from(["comparison", "bridge_comparison", "compositional"])),
        "question": draw(WORD),
        "answer": draw(WORD | st.sampled_from(["yes", "no"])),
        "context": [[title, draw(st.lists(WORD, max_size=3))] for title in titles],
        "decomposition": [{"sub_question": q, "answer": a, "title": t} for q, a, t in hops],
    }


@settings(max_examples=60, deadline=None)
@given(fields=records(), num_negatives=st.integers(0, 9))
def test_tokens_equal_positives(fields: dict[str, Any], num_negatives: int) -> None:
    fields = {
        **fields,
        "context": [[title.strip(), text] for title, text in fields["context"]],
        "decomposition": [{**step, "title": step["title"].strip()} for step in fields["decomposition"]],
    }
    if len({title for title, _ in fields["context"]}) < len(fields["context"]):
        return
    store = DocumentStore()
    add_context(fields, store)
    example = record_to_example(fields, store, num_negatives=num_negatives)
    validate_example(example, store)
    content = example["messages"][1]["content"]
    assert content.count("[RQ]") == content.count("<paragraph>") == len(example["positives"])
    gold = {ids[0] for ids in example["positives"]}
    for negatives in example["negatives"]:
        assert len(negatives) == min(num_negatives, len(store) - len(gold)) == len(set(negatives))
        assert not gold & set(negatives)
