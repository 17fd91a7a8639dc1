"""Retrieval tokens in a tokenizer and in a model's embedding matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.tiny_models import VOCAB_SIZE, tiny_backbone
from transformers import AutoTokenizer

from onegen_hf import OneGenForCausalLM, RetrievalTokens
from onegen_hf.modeling.token_rows import initialize_token_rows
from onegen_hf.tokens import Role

PRESETS = {
    "multi_hop": ["[RQ]", "[RD]", "<paragraph>", "</paragraph>"],
    "self_rag": [
        "[RQ]", "[RD]", "<paragraph>", "</paragraph>",
        "[No Retrieval]", "[Retrieval]", "[Continue to Use Evidence]", "[Irrelevant]", "[Relevant]",
        "[Fully supported]", "[Partially supported]", "[No support / Contradictory]",
        "[Utility:1]", "[Utility:2]", "[Utility:3]", "[Utility:4]", "[Utility:5]",
    ],
    "entity_linking": ["[LK]", "[SE]", "[CON]", "<paragraph>", "</paragraph>", "<MENTION>", "</MENTION>"],
}  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_add_their_tokens_once(preset: str, fresh_tokenizer: Any) -> None:
    tokens = getattr(RetrievalTokens, preset)()
    assert tokens.all == PRESETS[preset]
    assert tokens.add_to(fresh_tokenizer) == len(PRESETS[preset])
    assert tokens.add_to(fresh_tokenizer) == 0
    assert len(fresh_tokenizer) == VOCAB_SIZE + len(PRESETS[preset])
    ids = [VOCAB_SIZE + n for n in range(len(PRESETS[preset]))]
    assert fresh_tokenizer.convert_tokens_to_ids(tokens.all) == ids
    # Also in the middle of a word, where they stand in real text.
    text = "film" + "".join(tokens.all) + "boat"
    assert [n for n in fresh_tokenizer(text)["input_ids"] if n >= VOCAB_SIZE] == ids


def test_presets_differ_and_the_default_is_multi_hop() -> None:
    assert RetrievalTokens() == RetrievalTokens.multi_hop()
    assert RetrievalTokens.multi_hop().continuation is None
    assert RetrievalTokens.entity_linking().continuation == "[CON]"
    assert [role.name for role in sorted(Role)] == ["CTX", "GEN", "RET"]


def test_ids(fresh_tokenizer: Any) -> None:
    tokens = RetrievalTokens.entity_linking()
    tokens.add_to(fresh_tokenizer)
    ids = tokens.ids(fresh_tokenizer)
    assert (ids.query, ids.document, ids.continuation) == (VOCAB_SIZE, VOCAB_SIZE + 1, VOCAB_SIZE + 2)
    assert (ids.paragraph_open, ids.paragraph_close) == (VOCAB_SIZE + 3, VOCAB_SIZE + 4)
    assert RetrievalTokens.multi_hop().add_to(fresh_tokenizer) == 2  # the paragraph tags are there already
    assert RetrievalTokens.multi_hop().ids(fresh_tokenizer).continuation is None


def test_ids_with_a_tokenizer_that_adds_bos(plain_tokenizer: Any) -> None:
    assert plain_tokenizer("[RQ]")["input_ids"] == [plain_tokenizer.bos_token_id, VOCAB_SIZE]
    assert RetrievalTokens().ids(plain_tokenizer).query == VOCAB_SIZE


def test_existing_special_tokens_stay_special(fresh_tokenizer: Any) -> None:
    before = list(fresh_tokenizer.all_special_tokens)
    RetrievalTokens.self_rag().add_to(fresh_tokenizer)
    assert set(before) < set(fresh_tokenizer.all_special_tokens)
    assert fresh_tokenizer.decode(fresh_tokenizer("a film [RQ]")["input_ids"], skip_special_tokens=True) == "a film "


def test_tokens_survive_saving_the_tokenizer(tokenizer: Any, tmp_path: Any) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert RetrievalTokens().ids(loaded) == RetrievalTokens().ids(tokenizer)
    assert RetrievalTokens().add_to(loaded) == 0


def test_missing_tokens_are_named(base_tokenizer: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"lacks the retrieval tokens \['\[RQ\]', '\[RD\]', .*add_to"):
        RetrievalTokens().ids(base_tokenizer)
    with pytest.raises(ValueError, match=r"lacks the retrieval tokens \['\[LK\]', '\[SE\]'\]"):
        RetrievalTokens(query="[LK]", document="[SE]").ids(tokenizer)


def test_an_ordinary_vocabulary_entry_is_no_retrieval_token(fresh_tokenizer: Any) -> None:
    # "film" is known after a space only, so the bare word is several tokens or one, but "Ġfilm" never is itself.
    word = next(t for t in fresh_tokenizer.get_vocab() if t.startswith("Ġ") and len(t) > 3)
    with pytest.raises(ValueError, match="instead of its own id .* Choose another name"):
        RetrievalTokens(query=word).add_to(fresh_tokenizer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": "[X]", "document": "[X]"}, r"must differ from each other, got \['\[X\]', '\[X\]'"),
        ({"continuation": "[RQ]"}, "must differ from each other"),
        ({"generation": ("[A]", "[A]")}, "must differ from each other"),
        ({"generation": ("<paragraph>",)}, "must differ from each other"),
        ({"query": ""}, "query='' is empty: give some text"),
        ({"document": "  "}, "document='  ' is empty: give some text"),
        ({"generation": ["[A]", " "]}, r"generation\[1\]=' ' is empty"),
    ],
)
def test_bad_names_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetrievalTokens(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": 3}, "query=3 must be text"),
        ({"document": None}, "document=None must be text"),
        ({"continuation": 3}, "continuation=3 must be text"),
        ({"generation": "[X]"}, r"generation='\[X\]' must be a list or tuple of tokens: give \('\[X\]',\)"),
        ({"generation": 3}, "generation=3 must be a list or tuple of tokens"),
        ({"generation": [3]}, r"generation\[0\]=3 must be text"),
        ({"descriptions": "x"}, "descriptions='x' must be a mapping of tokens to phrases"),
        ({"descriptions": {"[RQ]": 3}}, r"descriptions\['\[RQ\]'\]=3 must be text"),
    ],
)
def test_names_of_a_wrong_type_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        RetrievalTokens(**arguments)


def test_round_trip_as_dict() -> None:
    tokens = RetrievalTokens(query="[Q]", generation=("[A]", "[B]"), descriptions={"[Q]": "a query"})
    assert RetrievalTokens.from_dict(tokens.to_dict()) == tokens
    assert tokens.to_dict()["generation"] == ["[A]", "[B]"]


def test_descriptions() -> None:
    tokens = RetrievalTokens(query="[Question Representation]", descriptions={"[RD]": "my own words"})
    assert tokens.description("[RD]") == "my own words"
    assert tokens.description("<paragraph>") == "begin of the retrieved paragraph"
    assert tokens.description("[Question Representation]") == "Question Representation"


@pytest.mark.parametrize("architecture", ["llama_tied", "llama_untied"])
@pytest.mark.parametrize(
    "tokens", [RetrievalTokens.multi_hop(), RetrievalTokens(query="[Q!]", descriptions={"[Q!]": "a film by Ada Moll"})]
)
def test_new_rows_are_the_mean_of_their_description(
    architecture: str, tokens: RetrievalTokens, fresh_tokenizer: Any
) -> None:
    backbone = tiny_backbone(architecture)
    old_input = backbone.get_input_embeddings().weight.detach().clone()
    old_head = backbone.get_output_embeddings().weight.detach().clone()
    model = OneGenForCausalLM.from_backbone(backbone, fresh_tokenizer, tokens=tokens)
    new_input, new_head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (new_input is new_head) == (architecture == "llama_tied")
    assert new_input.shape[0] == new_head.shape[0] == model.config.vocab_size == len(fresh_tokenizer)
    for old, new in ((old_input, new_input), (old_head, new_head)):
        torch.testing.assert_close(new[:VOCAB_SIZE], old, rtol=0, atol=0)
        for token in tokens.all:
            source = fresh_tokenizer(tokens.description(token))["input_ids"]
            assert len(source) > 1 and max(source) < VOCAB_SIZE
            expected = sum(old[n] for n in source) / len(source)
            row = fresh_tokenizer.convert_tokens_to_ids(token)
            torch.testing.assert_close(new[row], expected, rtol=1e-5, atol=1e-6)


def test_rows_of_a_trained_checkpoint_are_kept(model: Any, tokenizer: Any, tmp_path: Any) -> None:
    # `from_backbone` on what is a OneGen checkpoint already must not reset what was learned.
    with torch.no_grad():
        model.get_input_embeddings().weight[VOCAB_SIZE:] += 1.0
    before = model.get_input_embeddings().weight.detach().clone()
    model.save_pretrained(tmp_path)
    for start in (model, str(tmp_path)):
        again = OneGenForCausalLM.from_backbone(start, tokenizer)
        torch.testing.assert_close(again.get_input_embeddings().weight, before, rtol=0, atol=0)


def test_padding_rows_of_a_plain_backbone_are_set_though_the_tokenizer_knows_the_tokens(tokenizer: Any) -> None:
    # What loading an adapter does on a backbone with more rows than its own tokenizer had tokens.
    backbone = tiny_backbone(vocab_size=448)
    old = backbone.get_input_embeddings().weight.detach().clone()
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer)
    source = tokenizer(RetrievalTokens().description("[RQ]"))["input_ids"]
    torch.testing.assert_close(model.get_input_embeddings().weight[VOCAB_SIZE], old[source].mean(dim=0))


def test_tokens_of_the_base_vocabulary_are_kept(fresh_tokenizer: Any) -> None:
    # `<|im_start|>` is an id below the tokenizer's size that the backbone has trained.
    tokens = RetrievalTokens(document="<|im_start|>")
    backbone = tiny_backbone()
    before = backbone.get_input_embeddings().weight.detach().clone()
    model = OneGenForCausalLM.from_backbone(backbone, fresh_tokenizer, tokens=tokens)
    torch.testing.assert_close(model.get_input_embeddings().weight[:VOCAB_SIZE], before, rtol=0, atol=0)
    assert len(fresh_tokenizer) == VOCAB_SIZE + 3


def test_a_padded_embedding_matrix_is_not_shrunk(fresh_tokenizer: Any) -> None:
    # Many backbones have more rows than their tokenizer has tokens (a multiple of 64).
    backbone = tiny_backbone(vocab_size=448)
    before = backbone.get_input_embeddings().weight.detach().clone()
    model = OneGenForCausalLM.from_backbone(backbone, fresh_tokenizer)
    after = model.get_input_embeddings().weight
    assert after.shape[0] == 448
    changed = (after != before).any(dim=1).nonzero()[:, 0].tolist()
    assert changed == [VOCAB_SIZE, VOCAB_SIZE + 1, VOCAB_SIZE + 2, VOCAB_SIZE + 3]


def test_tokenizer_grown_before_the_model(tokenizer: Any) -> None:
    # The tokens are in the tokenizer, but the backbone never had rows for them: they are initialised.
    backbone = tiny_backbone()
    old = backbone.get_input_embeddings().weight.detach().clone()
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer)
    source = tokenizer(RetrievalTokens().description("[RD]"))["input_ids"]
    torch.testing.assert_close(model.get_input_embeddings().weight[VOCAB_SIZE + 1], old[source].mean(dim=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_initialize_token_rows_only_the_named(dtype: torch.dtype, tokenizer: Any) -> None:
    backbone = tiny_backbone(vocab_size=len(tokenizer)).to(dtype)
    before = backbone.get_input_embeddings().weight.detach().clone()
    assert initialize_token_rows(backbone, tokenizer, RetrievalTokens(), ["[RD]"]) == [VOCAB_SIZE + 1]
    after = backbone.get_input_embeddings().weight
    assert (after != before).any(dim=1).nonzero()[:, 0].tolist() == [VOCAB_SIZE + 1]
    assert after.dtype == dtype
    everything = initialize_token_rows(backbone, tokenizer, RetrievalTokens())
    assert everything == [VOCAB_SIZE, VOCAB_SIZE + 1, VOCAB_SIZE + 2, VOCAB_SIZE + 3]


def test_a_tokenizer_of_another_model_is_refused(fresh_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="400 tokens and the backbone 300 embedding rows: they do not belong"):
        OneGenForCausalLM.from_backbone(tiny_backbone(vocab_size=300), fresh_tokenizer)
