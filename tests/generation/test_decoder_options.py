"""The ordinary settings of `generate` keep working, and what cannot work is refused."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from support.decoding_setup import PROMPTS, Setup
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

from onegen_hf.generation import Hit, OnePassDecoder
from onegen_hf.generation.arguments import HARMLESS_IN_A_CHECKPOINT, HONOURED, check_supported
from onegen_hf.modeling.outputs import CACHE


class Recorder(TextStreamer):
    """Keeps the ids that it is given."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.ended = False

    def put(self, value: torch.Tensor) -> None:
        self.ids += value.flatten().tolist()

    def end(self) -> None:
        self.ended = True


class StopAt(StoppingCriteria):
    """Ends a row at a length."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), input_ids.shape[1] >= self.length)


def test_sequences_are_those_of_generate(llama: Setup) -> None:
    output = llama.run(PROMPTS)
    width = max(len(llama.ids(prompt)) for prompt in PROMPTS)
    assert output.sequences.shape == (4, max(len(r.ids) + width - r.usage.prompt_tokens for r in output.rows))
    for sequence, row in zip(output.sequences.tolist(), output.rows, strict=True):
        left = width - row.usage.prompt_tokens
        assert sequence[left : left + len(row.ids)] == row.ids
        assert set(sequence[:left] + sequence[left + len(row.ids) :]) <= {llama.tokenizer.pad_token_id}


def test_a_tensor_without_return_dict(llama: Setup) -> None:
    inputs = llama.tokenizer(PROMPTS[:1], return_tensors="pt")
    decoder = OnePassDecoder(llama.index, llama.tokenizer, llama.model.onegen_config)
    options = dict(custom_generate=decoder, max_new_tokens=4, do_sample=False)
    assert torch.is_tensor(llama.model.generate(**inputs, **options))


def test_without_retrievals_it_is_plain_greedy_decoding(llama: Setup) -> None:
    inputs = llama.tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    options = dict(max_new_tokens=10, do_sample=False, suppress_tokens=[llama.query_token])
    plain = llama.model.generate(**inputs, **options)
    decoder = OnePassDecoder(llama.index, llama.tokenizer, llama.model.onegen_config)
    torch.testing.assert_close(llama.model.generate(**inputs, **options, custom_generate=decoder), plain)


@pytest.mark.parametrize(
    "options",
    [
        dict(repetition_penalty=3.0),
        dict(no_repeat_ngram_size=2),
        dict(bad_words_ids=[[164], [282, 275]]),
        dict(prefix_allowed_tokens_fn=lambda row, ids: [50, 51 + len(ids) % 3, 403, 400, 402]),
    ],
    ids=lambda options: next(iter(options)),
)
def test_processors_that_read_the_ids(llama: Setup, options: dict[str, Any]) -> None:
    together = llama.run(PROMPTS, **options).rows
    assert [row.ids for row in together] != [row.ids for row in llama.run(PROMPTS).rows]
    for prompt, row in zip(PROMPTS, together, strict=True):
        assert row.ids == llama.run([prompt], **options).rows[0].ids


def test_prefix_constraints_know_the_row(llama: Setup) -> None:
    rows = llama.run(PROMPTS, hops=0, max_new_tokens=3, prefix_allowed_tokens_fn=lambda row, ids: [50 + row]).rows
    assert [row.ids[-3:] for row in rows] == [[50 + number] * 3 for number in range(4)]


def test_repetition_penalty_that_spares_the_prompts(llama: Setup) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    width = max(len(llama.ids(prompt)) for prompt in PROMPTS)
    spared = [RepetitionPenaltyLogitsProcessor(3.0, prompt_ignore_length=width), llama.script(1)]
    for prompt, row in zip(PROMPTS, llama.run(PROMPTS, script=spared).rows, strict=True):
        own = RepetitionPenaltyLogitsProcessor(3.0, prompt_ignore_length=len(llama.ids(prompt)))
        (alone,) = llama.run([prompt], script=[own, llama.script(1)]).rows
        assert row.ids == alone.ids


@pytest.mark.parametrize("wanted", [1, 5, 9])
def test_least_number_of_new_tokens(llama: Setup, wanted: int) -> None:
    def ends(input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        scores[:, llama.tokenizer.eos_token_id] += 1e4
        return scores

    rows = llama.run(PROMPTS, script=ends, min_new_tokens=wanted, max_new_tokens=20).rows
    # Counted from the padded prompt's width, as `generate` does; the end token itself comes after them.
    assert {row.usage.generated_tokens for row in rows} == {wanted + 1}
    assert {row.stop_reason for row in rows} == {"eos"}


def test_sampling(llama: Setup) -> None:
    greedy = [row.ids for row in llama.run(PROMPTS).rows]

    def sample(seed: int, **options: Any) -> list[list[int]]:
        torch.manual_seed(seed)
        return [row.ids for row in llama.run(PROMPTS, do_sample=True, **options).rows]

    assert sample(0, top_k=1) == greedy
    assert sample(1, temperature=2.0) == sample(1, temperature=2.0) != sample(2, temperature=2.0)


def test_max_hops_beats_a_processor_that_insists(llama: Setup) -> None:
    class Insists(LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            scores[:, llama.query_token] = 1e4
            return scores

    (row,) = llama.run(PROMPTS[:1], script=Insists(), max_hops=2, max_new_tokens=6).rows
    assert len(row.retrievals) == 2
    assert row.retrieval_stopped == "max_hops"
    assert row.stop_reason in ("max_new_tokens", "eos")


def test_no_hops_at_all(llama: Setup) -> None:
    (row,) = llama.run(PROMPTS[:1], max_hops=0).rows
    assert row.retrievals == [] and row.retrieval_stopped == "max_hops"


@pytest.mark.parametrize("k", [1, 2, 3, 50])
def test_k_passages_are_inserted_best_first(llama: Setup, k: int) -> None:
    (row,) = llama.run(PROMPTS[:1], hops=1, k=k, max_new_tokens=6).rows
    hits = row.retrievals[0].hits
    assert len(hits) == min(k, len(llama.index))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    text = llama.tokenizer.decode(row.ids)
    places = [text.index(hit.passage.text) for hit in hits]
    assert places == sorted(places)
    assert text.count("<paragraph>") == text.count("</paragraph>") == len(hits)


def test_an_index_that_finds_nothing(llama: Setup) -> None:
    class Empty:
        def search(self, embeddings: torch.Tensor, k: int) -> Any:
            return torch.full((len(embeddings), k), -torch.inf), torch.full((len(embeddings), k), -1)

        def __getitem__(self, row: int) -> Any:
            raise IndexError(row)

    setup = copy.copy(llama)
    setup.index = Empty()  # type: ignore[assignment]
    rows = setup.run(PROMPTS, hops=2).rows
    assert [[retrieval.hits for retrieval in row.retrievals] for row in rows] == [[[], []]] * 4
    assert all(setup.tokenizer.decode(row.ids).count("[RQ]<paragraph></paragraph>") == 2 for row in rows)


def test_a_decoder_with_a_choice_of_its_own(llama: Setup) -> None:
    class Fixed(OnePassDecoder):
        def retrieve(self, rows: Any, embeddings: torch.Tensor) -> Any:
            return [[Hit(self.index[number], 1.0, number) for number in (row.number, hop)] for row in rows
                    for hop in [len(row.retrievals)]]  # fmt: skip

    encoded = llama.tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    decoder = Fixed(llama.index, llama.tokenizer, llama.model.onegen_config)
    options: dict[str, Any] = dict(max_new_tokens=14, do_sample=False, return_dict_in_generate=True)
    rows = llama.model.generate(
        **encoded, **options, custom_generate=decoder, logits_processor=LogitsProcessorList([llama.script(2)])
    ).rows
    assert [[[h.row for h in r.hits] for r in row.retrievals] for row in rows] == [
        [[number, 0], [number, 1]] for number in range(4)
    ]


def test_streamer_sees_prompt_tokens_and_passages_in_order(llama: Setup) -> None:
    streamer = Recorder()
    (row,) = llama.run(PROMPTS[:1], streamer=streamer).rows
    assert streamer.ids == row.ids
    assert streamer.ended


def test_stopping_criteria(llama: Setup) -> None:
    rows = llama.run(PROMPTS, hops=0, stopping_criteria=StoppingCriteriaList([StopAt(9)]), max_new_tokens=40).rows
    for prompt, row in zip(PROMPTS, rows, strict=True):
        assert row.stop_reason == "stopping_criteria"
        assert len(row.ids) == max(9, len(llama.ids(prompt)) + 1)


def test_end_token(llama: Setup) -> None:
    class Ends(LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            scores[:, llama.tokenizer.eos_token_id] = 1e4 if input_ids.shape[1] >= 12 else -torch.inf
            return scores

    rows = llama.run(PROMPTS, script=Ends(), max_new_tokens=40).rows
    assert {row.stop_reason for row in rows} == {"eos"}
    assert all(row.ids[-1] == llama.tokenizer.eos_token_id for row in rows)


@pytest.mark.parametrize("room", range(1, 90, 8))
def test_a_full_context_stops_retrieval_and_never_crashes(llama: Setup, room: int) -> None:
    setup = copy.copy(llama)
    setup.model = copy.deepcopy(llama.model)
    prompt = setup.ids(PROMPTS[0])
    setup.model.config.max_position_embeddings = len(prompt) + room
    (row,) = setup.run(PROMPTS[:1], hops=9, max_hops=9, max_new_tokens=200).rows
    assert len(row.ids) == len(prompt) + room
    assert row.stop_reason == "context_full"
    assert row.retrieval_stopped == "context_full"
    text = setup.tokenizer.decode(row.ids)
    assert text.count("<paragraph>") == text.count("</paragraph>")  # what is cut short is still closed


def test_settings_that_cannot_be_honoured(llama: Setup) -> None:
    filled = DynamicCache(config=llama.model.config)
    llama.model(input_ids=torch.tensor([[5, 6]]), cache=filled, use_cache=True)
    for options, match in [
        (dict(num_beams=2), "num_beams=2: beams cannot retrieve"),
        (dict(use_cache=False), "use_cache=False"),
        (dict(output_scores=True), "output_scores=True is not supported"),
        (dict(guidance_scale=2.0), "guidance_scale"),
        ({CACHE: filled}, f"{CACHE}: a filled cache"),
    ]:
        with pytest.raises(ValueError, match=match):
            llama.run(PROMPTS[:1], **options)
    for options, match in [
        (dict(cache_implementation="static"), "cache_implementation='static' is not supported by one-pass decoding"),
        (dict(penalty_alpha=0.6, top_k=4), "penalty_alpha=0.6 is not supported"),
        (dict(prefill_chunk_size=4), "prefill_chunk_size=4 is not supported"),
        (dict(num_beam_groups=2), "num_beam"),
        (dict(eos_token_id=[2, 10**6]), r"eos_token_id=\[2, 1000000\] is beyond the vocabulary: 1000000 is not below"),
        (dict(assistant_model=llama.model), "assistant_model is not supported by OnePassDecoder"),
        (dict(negative_prompt_ids=torch.tensor([[5]])), "negative_prompt_ids is not supported"),
    ]:
        with pytest.raises((ValueError, RuntimeError), match=match):
            llama.run(PROMPTS[:1], **options)
    with pytest.raises(ValueError, match="only one prompt at a time"):
        llama.run(PROMPTS, streamer=Recorder())
    with pytest.raises(ValueError, match="k=0 must be at least 1"):
        OnePassDecoder(llama.index, llama.tokenizer, llama.model.onegen_config, k=0)
    with pytest.raises(TypeError, match=r"index must be a PassageIndex .* got str 'passages'.*PassageIndex.load"):
        OnePassDecoder("passages", llama.tokenizer, llama.model.onegen_config)
    with pytest.raises(ValueError, match="max_hops=-1"):
        OnePassDecoder(llama.index, llama.tokenizer, llama.model.onegen_config, max_hops=-1)
    with pytest.raises(ValueError, match="max_rows=0 must be at least 1"):
        OnePassDecoder(llama.index, llama.tokenizer, llama.model.onegen_config, max_rows=0)


def test_every_setting_of_transformers_is_honoured_or_refused(llama: Setup) -> None:
    """With an odd value for each setting that transformers has now or later: none is passed over in silence."""
    known = HONOURED | HARMLESS_IN_A_CHECKPOINT | REFUSED_BY_TRANSFORMERS
    names = {name for name in GenerationConfig().to_dict() if not name.startswith("_")}
    prepared = llama.model._prepare_generation_config(None)[0]
    for name in sorted(names - HONOURED - REFUSED_BY_TRANSFORMERS):
        config = copy.deepcopy(prepared)
        setattr(config, name, 7)
        with pytest.raises(ValueError, match=f"{name}=7"):
            check_supported(llama.model, config, {}, None, 1)
    assert known <= names | {"stop_strings", "is_assistant", "diversity_penalty"}


REFUSED_BY_TRANSFORMERS = frozenset({"continuous_batching_config", "dola_layers", "constraints", "force_words_ids"})


def test_settings_of_the_checkpoint_that_change_no_result(llama: Setup) -> None:
    setup = copy.copy(llama)
    setup.model = copy.deepcopy(llama.model)
    setup.model.generation_config.cache_implementation = "hybrid"
    setup.model.generation_config.use_cache = False  # as a training with activation checkpointing leaves it
    assert setup.run(PROMPTS[:1]).rows[0].ids == llama.run(PROMPTS[:1]).rows[0].ids
    setup.model.generation_config.penalty_alpha = 0.5
    with pytest.raises(ValueError, match="penalty_alpha=0.5 in the checkpoint's generation_config.json"):
        setup.run(PROMPTS[:1])


def test_stop_strings(llama: Setup) -> None:
    whole = llama.run(PROMPTS[:1], hops=0, max_new_tokens=14).rows[0]
    written = llama.tokenizer.decode(whole.ids[whole.usage.prompt_tokens :])
    stop = next(c for c in written[3:] if c.isascii() and c.isalpha())
    for options in (
        dict(stop_strings=stop),
        dict(generation_config=GenerationConfig(stop_strings=[stop], eos_token_id=3)),
    ):
        row = llama.run(PROMPTS[:1], hops=0, max_new_tokens=14, **options).rows[0]
        text = llama.tokenizer.decode(row.ids[row.usage.prompt_tokens :])
        assert row.stop_reason == "stopping_criteria" and stop in text and written.startswith(text)
        assert len(row.ids) < len(whole.ids)


def test_several_sequences_for_each_prompt(llama: Setup) -> None:
    torch.manual_seed(3)
    rows = llama.run(PROMPTS[:2], do_sample=True, num_return_sequences=3).rows
    prompts = [llama.ids(prompt) for prompt in PROMPTS[:2] for _ in range(3)]
    assert [row.ids[: row.usage.prompt_tokens] for row in rows] == prompts
    assert len({tuple(row.ids) for row in rows}) > 2


def test_a_model_without_embeddings_is_refused(llama: Setup) -> None:
    decoder = OnePassDecoder(llama.index, llama.tokenizer, llama.model.onegen_config)
    from support.tiny_models import tiny_backbone

    with pytest.raises(TypeError, match="needs a OneGenForCausalLM, got LlamaForCausalLM"):
        tiny_backbone().generate(torch.tensor([[5]]), custom_generate=decoder, max_new_tokens=2)


def test_a_tokenizer_without_the_tokens_is_refused(llama: Setup, base_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="lacks the retrieval tokens"):
        OnePassDecoder(llama.index, base_tokenizer, llama.model.onegen_config)


def test_generation_config_objects_work(llama: Setup) -> None:
    config = GenerationConfig(max_new_tokens=14, do_sample=False, pad_token_id=0, eos_token_id=3)
    inputs = llama.tokenizer(PROMPTS[:1], return_tensors="pt")
    decoder = OnePassDecoder(llama.index, llama.tokenizer, llama.model.onegen_config)
    found = llama.model.generate(
        **inputs, generation_config=config, custom_generate=decoder, logits_processor=[llama.script(2)]
    )
    assert found[0].tolist() == llama.run(PROMPTS[:1]).rows[0].ids


class Recording:
    """An index that keeps the options of its searches."""

    def __init__(self, index: Any, has_words: bool | None) -> None:
        self.index, self.options = index, []
        if has_words is not None:
            self.has_words = has_words

    def search(self, embeddings: Any, k: int, **options: Any) -> Any:
        self.options.append(options)
        return self.index.search(embeddings, k, **options)

    def __getitem__(self, row: int) -> Any:
        return self.index[row]


@pytest.mark.parametrize(
    ("has_words", "asked", "expected"),
    [
        (True, {}, {"hybrid": 0.25, "fusion": "weighted"}),
        (True, {"hybrid": 0.0}, {}),
        (True, {"fusion": "rrf"}, {"hybrid": 0.25, "fusion": "rrf"}),
        (False, {}, {}),
        (None, {}, {}),  # an index of another kind
        (False, {"hybrid": 0.5}, {"hybrid": 0.5, "fusion": "weighted"}),
    ],
)
def test_the_checkpoint_says_how_words_count(
    llama: Setup, has_words: bool | None, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    index = Recording(llama.index, has_words)
    config = dataclasses.replace(llama.model.onegen_config, hybrid=0.25, fusion="weighted")
    decoder = OnePassDecoder(index, llama.tokenizer, config, questions=PROMPTS[:1], **asked)  # type: ignore[arg-type]
    encoded = llama.tokenizer(PROMPTS[:1], return_tensors="pt")
    script = LogitsProcessorList([llama.script(1)])
    llama.model.generate(**encoded, custom_generate=decoder, max_new_tokens=6, logits_processor=script)
    (options,) = index.options
    assert {name: value for name, value in options.items() if name != "texts"} == expected
    assert ("texts" in options) == bool(expected)
