"""The alternatives to one pass do what they are compared for: the same answers where they must, and no other work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.alternatives_setup import WINDOW
from support.sample_corpus import DOCUMENTS

from benchmarks.alternatives import ALTERNATIVES, Components, Script, Task
from benchmarks.alternatives.encoder import Encoder
from benchmarks.alternatives.meters import PeakMemory, counted_tokens
from benchmarks.alternatives.workload import scripted_task
from onegen_hf import Passage

PROMPTS = ["Where is it?", "Who made Tin Boat, and where was she born?", "Say a town by the sea in the north."]


def free_task(components: Components, max_new_tokens: int = 24, max_hops: int = 3) -> Task:
    return Task([components.tokenizer(prompt)["input_ids"] for prompt in PROMPTS], max_new_tokens, max_hops)


@pytest.mark.parametrize("max_hops", [0, 1, 3])
@pytest.mark.parametrize("max_new_tokens", [5, 24])
@pytest.mark.parametrize("name", ["two_pass", "re_reading"])
def test_free_answers_are_those_of_one_pass(
    components: Components, name: str, max_new_tokens: int, max_hops: int
) -> None:
    task = free_task(components, max_new_tokens, max_hops)
    expected = ALTERNATIVES["one_pass"](components)(task)
    query_token = components.tokenizer.convert_tokens_to_ids("[RQ]")
    hops = [answer.count(query_token) for answer in expected]
    assert max(hops) == max_hops or max_new_tokens == 5, hops
    assert ALTERNATIVES[name](components)(task) == expected


def test_both_pipelines_answer_alike(components: Components) -> None:
    task = free_task(components)
    answers = ALTERNATIVES["pipeline"](components)(task)
    assert ALTERNATIVES["stateless_pipeline"](components)(task) == answers
    assert answers != ALTERNATIVES["one_pass"](components)(task), "another encoder finds other passages"


@pytest.mark.parametrize("hops", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_all_write_the_script_and_forward_what_they_should(components: Components, batch_size: int, hops: int) -> None:
    task = scripted_task(components, 60, hops, batch_size)
    assert task.script is not None
    total = 60 + len(task.script.ids)
    query_token = components.tokenizer.convert_tokens_to_ids("[RQ]")
    queries = [60 + place + 1 for place, token in enumerate(task.script.ids) if token == query_token]
    assert len(queries) == hops
    # What had been read when each passage came in, and once more up to the next query.
    expected = {
        "one_pass": total - 1,
        "pipeline": total - 1,
        "two_pass": total - 1 + sum(queries),
        "re_reading": total - 1 + sum(queries),
        "stateless_pipeline": total - 1 + sum(queries) - hops,  # the query token itself is not fed
    }
    for name, make in ALTERNATIVES.items():
        alternative = make(components)
        with counted_tokens(components.model.get_decoder()) as counts:
            answers = alternative(task)
        assert answers == [task.script.ids] * batch_size, name
        assert sum(counts) == expected[name] * batch_size, name


def test_prompts_have_the_wanted_length_and_differ(components: Components) -> None:
    task = scripted_task(components, 150, 2, 3)
    assert [len(prompt) for prompt in task.prompts] == [150] * 3
    assert len(set(map(tuple, task.prompts))) == 3
    assert scripted_task(components, 150, 2, 3) == task
    assert scripted_task(components, 150, 2, 3, seed=1) != task


@pytest.mark.parametrize(
    ("length", "message"),
    [(3, "prompt_tokens=3 must be at least"), (511, "do not fit into the model's context of 512")],
)
def test_lengths_that_cannot_be_are_refused(components: Components, length: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scripted_task(components, length, 1, 1)


def test_a_script_needs_prompts_of_one_length() -> None:
    with pytest.raises(ValueError, match=r"prompts of the lengths \[1, 2\] cannot follow one script"):
        Task.scripted([[1], [1, 2]], Script([5], 1, []))


def test_the_encoder_reads_texts_to_their_ends(components: Components) -> None:
    encoder = components.encoder
    long = "The road to the old mill leads over the hill and along the river to the sea. " * 5
    texts = [long, f"{long} Fern Bay", f"Fern Bay {long}", "short"]
    embeddings = encoder.encode(texts)
    assert embeddings.shape == (4, 32) and embeddings.dtype == np.float32
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert not np.allclose(embeddings[0], embeddings[1], atol=1e-3)
    for text, together in zip(texts, embeddings, strict=True):
        assert np.allclose(encoder.encode([text])[0], together, atol=1e-5)


def test_a_truncating_encoder_reads_the_end_only(components: Components) -> None:
    encoder = Encoder(components.make_encoder(), [Passage("a", "A", "b"), Passage("b", "B", "c")], truncate=True)
    with counted_tokens(encoder.transformer) as counts:
        encoder.encode(["Where is the old mill? " * 20, "Why?"])
    assert sum(counts) <= 2 * WINDOW
    with counted_tokens(components.encoder.transformer) as counts:
        components.encoder.encode(["Where is the old mill? " * 20, "Why?"])
    assert sum(counts) > 4 * WINDOW


def test_the_encoder_finds_its_own_passage(components: Components) -> None:
    index = components.encoder.index
    texts = [f"{passage.title}\n{passage.text}" for passage in components.index]
    _, rows = index.search(components.encoder.encode(texts), 1)
    assert [index[int(row)].id for (row,) in rows] == [document["id"] for document in DOCUMENTS]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_the_peak_is_told_after_the_memory_is_free_again() -> None:
    memory = PeakMemory()
    before = memory.read()
    block = torch.ones(96 * 2**20, dtype=torch.uint8, device="cuda" if torch.cuda.is_available() else "cpu")
    del block
    after = memory.read()
    assert before is not None and after is not None
    assert 90 <= after - before <= 200
    assert PeakMemory().read() < after - 50  # type: ignore[operator]
