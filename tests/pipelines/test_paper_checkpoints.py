"""The paper's released checkpoints, in tiny: they load by a preset, embed as the authors' program does, and answer."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.paper_checkpoint import PREFIXES, reference_embeddings, write_checkpoint
from torch import Tensor
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList, pipeline

from data_builders.paper.db_records import read_document
from onegen_hf import OneGenForCausalLM, PassageIndex, RetrievalTokens
from onegen_hf.cli.main import main
from onegen_hf.data.passages import Passage, PassageEncoder
from onegen_hf.index import read_embeddings
from onegen_hf.linking import CopyRule, MentionMarkup
from onegen_hf.linking.rewriting import RewriteRule
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines.describe import extract_answer
from onegen_hf.presets import preset
from onegen_hf.training.run import FormatArguments, load_for_training

QUERY, DOCUMENT = "[Question Representation]", "[Document Fragment Representation]"
FRAGMENT = (
    f"Represent the following document fragment and output it after the '{DOCUMENT}' token. \n"
    "Here are document fragment:\n"
)
ENTITY = (
    "<s>Represent the entity based on its description and output it after the '[SE]' token.\n"
    "The description of {title} is as follows:\n{text}"
)
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "d0", "title": "Tin Boat", "sentences": ["Tin Boat is a film by Ada Moll.", " It has a boat in it."]},
    {"id": "d1", "title": "Ada Moll", "sentences": ["Ada Moll was born in Fern Bay.", " She makes films."]},
    {"id": "d2", "title": "Fern Bay", "sentences": ["Fern Bay is a town by the sea."]},
]
PAPER = ["multi-hop-paper", "self-rag-paper", "entity-linking-paper"]
TEXT = "Ada Moll was born in Fern Bay."


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Preset → checkpoint; also those with other tokenizers, as `preset/prefix`."""
    root = tmp_path_factory.mktemp("zjunlp")
    made = {}
    for name in PAPER:
        for prefix in PREFIXES:
            path = root / f"{name} {prefix}"
            made[f"{name}/{prefix}"] = write_checkpoint(path, preset(name).tokens.all[::-1], prefix)
        made[name] = made[f"{name}/{PREFIXES[0]}"]
    return made


def load(path: Path, name: str) -> tuple[Any, Any]:
    return OneGenForCausalLM.from_pretrained(path, preset=name).eval(), load_tokenizer(path)


def authors_text(name: str, document: dict[str, Any]) -> tuple[str, str]:
    """What the authors' program embeds, and the token whose first occurrence it skips."""
    title, sentences = document["title"], document["sentences"]
    if name == "multi-hop-paper":
        first = FRAGMENT + f"wiki title: {title}\ncontent: {sentences[0]}"
        return "".join(piece + DOCUMENT for piece in [first, *sentences[1:]]), DOCUMENT
    text = " ".join(sentences)
    if name == "self-rag-paper":
        return f"{FRAGMENT}{title}\n{text}{DOCUMENT}", DOCUMENT
    return ENTITY.format(title=title, text=text) + "[SE]", "[SE]"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", PAPER)
def test_embeddings_are_those_of_the_authors_program(checkpoints: dict[str, Path], name: str, prefix: str) -> None:
    path = checkpoints[f"{name}/{prefix}"]
    model, tokenizer = load(path, name)
    index = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    expected = torch.cat([
        reference_embeddings(path, tokenizer, *authors_text(name, document), skipped=1) for document in DOCUMENTS
    ])  # fmt: skip
    assert index.num_rows == len(expected) == (5 if name == "multi-hop-paper" else 3)
    found = np.stack([index.backend.index.reconstruct(row) for row in range(index.num_rows)])
    assert np.abs(found - expected.numpy()).max() < 1e-5


@pytest.mark.parametrize("name", PAPER)
def test_names_of_tokens_in_a_passage_are_words(checkpoints: dict[str, Path], name: str) -> None:
    _, tokenizer = load(checkpoints[name], name)
    encoder = PassageEncoder(tokenizer, preset(name))
    document = preset(name).tokens.document
    row = encoder.row(Passage("x", f"A {document}", f"b {document} </s> c", (f"b {document} </s>", " c")))
    ids = np.asarray(row.input_ids)
    assert (ids == encoder.ids.document).sum() == len(row.positions) + 1  # the instruction's own
    assert tokenizer.eos_token_id not in ids
    clean = encoder.row(Passage("x", "A", "b c", ("b", " c")))
    assert len(clean.positions) == len(row.positions)


def test_a_long_passage_is_cut(checkpoints: dict[str, Path]) -> None:
    _, tokenizer = load(checkpoints["multi-hop-paper"], "multi-hop-paper")
    settings = preset("multi-hop-paper")
    whole = PassageEncoder(tokenizer, settings).row(Passage("x", "A", "b c", ("b", " c")))
    settings.max_embedded_tokens = whole.positions[0]
    cut = PassageEncoder(tokenizer, settings).row(Passage("x", "A", "b c", ("b", " c")))
    assert cut.truncated and not whole.truncated
    assert cut.positions == [whole.positions[0], whole.positions[0] + 1]
    assert cut.input_ids == [*whole.input_ids[: whole.positions[0] + 1], whole.input_ids[whole.positions[0]]]


@pytest.mark.parametrize("name", PAPER)
def test_no_weight_changes(checkpoints: dict[str, Path], name: str, tmp_path: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(checkpoints[name]).state_dict()
    model, tokenizer = load(checkpoints[name], name)
    again = OneGenForCausalLM.from_backbone(str(checkpoints[name]), tokenizer, tokens=name)
    for found in (model, again):
        assert found.onegen_config == preset(name)
        assert all(torch.equal(found.state_dict()[key], value) for key, value in plain.items())
    model.save_pretrained(tmp_path)
    assert OneGenForCausalLM.from_pretrained(tmp_path).onegen_config == preset(name)


def test_training_goes_on_from_its_rows(checkpoints: dict[str, Path]) -> None:
    from trl import ModelConfig

    path = checkpoints["multi-hop-paper"]
    model, _, _ = load_for_training(
        ModelConfig(model_name_or_path=str(path), dtype="float32"), FormatArguments(preset="multi-hop-paper")
    )
    plain = AutoModelForCausalLM.from_pretrained(path).state_dict()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in plain.items())


@pytest.mark.parametrize("tokens", [preset("multi-hop-paper"), RetrievalTokens.multi_hop_paper()])
def test_settings_instead_of_a_name(checkpoints: dict[str, Path], tokens: Any) -> None:
    model = OneGenForCausalLM.from_pretrained(checkpoints["multi-hop-paper"], preset=tokens)
    assert model.onegen_config.tokens == RetrievalTokens.multi_hop_paper()


def test_without_tokens_the_presets_are_named(checkpoints: dict[str, Path], llama: Any) -> None:
    path = checkpoints["self-rag-paper"]
    message = "'onegen' section.*pass `preset=`: one of .*'self-rag-paper'.*has the tokens of 'self-rag-paper' and"
    with pytest.raises(ValueError, match=message):
        OneGenForCausalLM.from_pretrained(path)
    with pytest.raises(TypeError, match="LlamaForCausalLM without retrieval tokens.*" + message):
        pipeline("onegen-rag", model=str(path), index=llama.index)


def test_tokens_that_the_tokenizer_lacks(checkpoints: dict[str, Path], llama: Any) -> None:
    with pytest.raises(ValueError, match=r"lacks the retrieval tokens \['\[RQ\]', '\[RD\]'\]"):
        pipeline("onegen-rag", model=str(checkpoints["multi-hop-paper"]), preset="multi-hop", index=llama.index)


class Ask(LogitsProcessor):
    """Asks for a passage at the third and the eighth generated token, and then ends."""

    def __init__(self, query: int, end: int, prompt_length: int) -> None:
        self.query, self.end, self.prompt_length = query, end, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        generated = input_ids.shape[1] - self.prompt_length
        asked = int((input_ids[:, self.prompt_length :] == self.query).sum())
        scores = scores.clone()
        scores[:, self.query] = 1e4 if asked < 2 and generated % 3 == 2 else -1e4
        scores[:, self.end] = 1e5 if asked == 2 and generated % 7 == 6 else -1e4
        return scores


@pytest.mark.parametrize("name", PAPER[:2])
def test_questions_end_to_end(checkpoints: dict[str, Path], name: str, tmp_path: Path) -> None:
    path = checkpoints[name]
    model, tokenizer = load(path, name)
    PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False).save(tmp_path)
    rag = pipeline("onegen-rag", model=str(path), preset=name, index=str(tmp_path), dtype=torch.float32)
    prompt = preset(name).prompt_template.format(question="Where?")
    length = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ask = Ask(tokenizer.convert_tokens_to_ids(QUERY), tokenizer.eos_token_id, length)
    result = rag("Where?", logits_processor=LogitsProcessorList([ask]))
    assert result["usage"]["prompt_tokens"] == length
    assert result["stop_reason"] == "eos" and len(result["retrievals"]) == 2
    inserted = result["text"].split("<paragraph>")[1].split("</paragraph>")[0].strip()
    found = next(d for d in DOCUMENTS if d["id"] == result["retrievals"][0]["passages"][0]["id"])
    expected = {
        "multi-hop-paper": f"wiki title: {found['title']}\ncontent: {''.join(found['sentences'])}",
        "self-rag-paper": f"{found['title']}\n{' '.join(found['sentences'])}",
    }
    assert inserted == expected[name]
    usage = result["usage"]
    assert usage["forwarded_tokens"] == (
        usage["prompt_tokens"] + usage["generated_tokens"] + usage["retrieved_tokens"] - 1
    )


def test_answers() -> None:
    text = "First. </FINAL-ANSWER> So it is <FINAL-ANSWER>Fern Bay</FINAL-ANSWER> and more"
    assert extract_answer(text, preset("multi-hop-paper")) == "Fern Bay"
    marked = "[Retrieval][Relevant]Fern Bay[Fully supported][Utility:5]"
    assert extract_answer(marked, preset("self-rag-paper")) == "Fern Bay"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_entity_linking_end_to_end(checkpoints: dict[str, Path], prefix: str, tmp_path: Path) -> None:
    name = "entity-linking-paper"
    path = checkpoints[f"{name}/{prefix}"]
    model, tokenizer = load(path, name)
    PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False).save(tmp_path)
    link = pipeline("onegen-entity-linking", model=str(path), preset=name, index=str(tmp_path), dtype=torch.float32)
    assert link.markup.open is None
    # The prompt is the authors', without an instruction in front.
    assert tokenizer.decode(link.markup.prompt(TEXT, "")).strip().startswith("[INST] You are good at mention")
    found = link(TEXT)
    assert all(TEXT[m["start"] : m["end"]] == m["mention"] for m in found)
    # Given mentions: the very text that the authors' program reads, and the hidden states of a plain forward.
    given = link({"text": TEXT, "spans": [[0, 8], [21, 29]]}, top_k=3)
    marked = "<MENTION>Ada Moll</MENTION>[LK][_CONTINUE_] was born in <MENTION>Fern Bay</MENTION>[LK][_CONTINUE_]."
    ids = link.markup.annotate(TEXT, [(0, 8), (21, 29)]).ids
    if prefix != "first piece":  # there a piece after a token is read as the first one of a text, as in training
        assert ids == tokenizer(marked, add_special_tokens=False)["input_ids"]
    prompt = tokenizer(preset(name).prompt_template.format(question=TEXT), add_special_tokens=False)["input_ids"]
    plain = AutoModelForCausalLM.from_pretrained(path).eval()
    with torch.no_grad():
        hidden = plain.model(input_ids=torch.tensor([prompt + ids])).last_hidden_state[0]
    queries = hidden[torch.tensor(prompt + ids) == tokenizer.convert_tokens_to_ids("[LK]")]
    scores, rows = link.index.search(queries, 3)
    for mention, own_scores, own_rows in zip(given, scores, rows, strict=True):
        assert [c["entity_id"] for c in mention["candidates"]] == [link.index[int(row)].id for row in own_rows]
        assert np.allclose([c["score"] for c in mention["candidates"]], own_scores, atol=1e-5)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_annotation_with_tags_that_are_text(checkpoints: dict[str, Path], prefix: str) -> None:
    name = "entity-linking-paper"
    _, tokenizer = load(checkpoints[f"{name}/{prefix}"], name)
    markup, end = MentionMarkup(tokenizer, preset(name)), tokenizer.eos_token_id
    for seed in range(150):
        generator = random.Random(seed)
        text = "".join(generator.choice(["Ada", " ", "Moll", "'s", ".", "<", "\u00e9", "\n"]) for _ in range(9))
        rule, ids = CopyRule(markup, text, end), []
        while not rule.done:
            ids.append(generator.choice(rule.allowed_tokens()))
            rule.advance(ids[-1])
        assert ids == [*markup.annotate(text, rule.spans).ids, end]
        assert all(text[start:stop].strip() == text[start:stop] != "" for start, stop in rule.spans)
        marks = ids.count(markup.query), ids.count(markup.continuation)
        assert marks == (len(rule.spans), len(rule.spans))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_mentions_of_free_rewriting(checkpoints: dict[str, Path], prefix: str) -> None:
    name = "entity-linking-paper"
    _, tokenizer = load(checkpoints[f"{name}/{prefix}"], name)
    rule = RewriteRule(MentionMarkup(tokenizer, preset(name)), TEXT, [tokenizer.eos_token_id])
    spans = [(0, 8), (21, 29)]
    for token in [*rule.markup.annotate(TEXT, spans).ids, tokenizer.eos_token_id]:
        rule.advance(token)
    assert rule.mentions() == [(spans[0], 0), (spans[1], 1)]


@pytest.mark.parametrize("name", ["multi-hop-paper", "entity-linking-paper"])
def test_documents_built_of_the_published_files(checkpoints: dict[str, Path], name: str) -> None:
    settings = preset(name)
    template = (settings.embedding_template or "").removeprefix("<s>")
    document = {**DOCUMENTS[0], "sentences": DOCUMENTS[0]["sentences"][: 2 if name == "multi-hop-paper" else 1]}
    text, token = authors_text(name, document)
    *pieces, _ = text.removeprefix("<s>").replace(f"'{token}'", "'@'").split(token)
    turns = [
        turn
        for piece in pieces
        for turn in (
            {"role": "user", "content": piece.replace("'@'", f"'{token}'")},
            {"role": "assistant", "content": token},
        )
    ]
    read, _ = read_document({"uid": "d0", "messages": turns}, title_template=template)
    assert (read.title, list(read.sentences)) == (document["title"], document["sentences"])


def test_command_line(checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, corpus = "multi-hop-paper", tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    model = ["--model", str(checkpoints[name]), "--preset", name, "--dtype", "float32"]
    index = str(tmp_path / "index")
    main(["index", "--passages", str(corpus), "--output-dir", index, *model, "--device", "cpu"])
    main(["ask", "Where?", "--index", index, "--json", "true", "--max_new_tokens", "4", *model])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["question"] == "Where?"


@pytest.fixture(scope="module")
def linker(checkpoints: dict[str, Path]) -> tuple[Any, Any, Tensor]:
    """Model, tokenizer, and the embeddings of `DOCUMENTS` as the authors' program stores them."""
    name = "entity-linking-paper"
    model, tokenizer = load(checkpoints[name], name)
    texts = [authors_text(name, document) for document in DOCUMENTS]
    rows = [reference_embeddings(checkpoints[name], tokenizer, *text, skipped=1) * 7 for text in texts]
    return model, tokenizer, torch.cat(rows).bfloat16()


def test_precomputed_embeddings(linker: tuple[Any, Any, Tensor], tmp_path: Path) -> None:
    model, tokenizer, embeddings = linker
    ids, shuffled = ["d2", "d0", "d1"], embeddings[[2, 0, 1]].contiguous()
    save_file({"embeddings": shuffled}, tmp_path / "embeddings.safetensors")
    torch.save((shuffled, ids), tmp_path / "pair.pt")
    torch.save({"embeddings": shuffled, "ids": ids}, tmp_path / "mapping.bin")
    expected = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    for file, stored in (("embeddings.safetensors", None), ("pair.pt", ids), ("mapping.bin", ids)):
        read, found_ids = read_embeddings(tmp_path / file)
        assert torch.equal(read, shuffled) and found_ids == stored
        index = PassageIndex.from_embeddings(read, DOCUMENTS, model, tokenizer, ids=ids, model_id="zjunlp/x")
        assert [passage.id for passage in index] == ["d0", "d1", "d2"] and index.model_id == "zjunlp/x"
        index.check_model(model, tokenizer)
        # The queries are the embeddings: bfloat16 may swap two passages that are about as near to a random query.
        queries = embeddings.float()
        scores, rows = index.search(queries, 3)
        assert rows[:, 0].tolist() == expected.search(queries, 3)[1][:, 0].tolist() == [0, 1, 2]
        assert np.allclose(scores, expected.search(queries, 3)[0], atol=0.02)


def test_an_embedding_per_sentence(checkpoints: dict[str, Path]) -> None:
    name = "multi-hop-paper"
    model, tokenizer = load(checkpoints[name], name)
    built = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    rows = torch.tensor(np.stack([built.backend.index.reconstruct(row) for row in range(5)]))
    ids = ["d1#1", "d0#0", "d2#0", "d0#1", "d1#0"]
    index = PassageIndex.from_embeddings(rows[[3, 0, 4, 1, 2]], DOCUMENTS, model, tokenizer, ids=ids)
    assert [index.reference(row) for row in range(5)] == ["d0#0", "d0#1", "d1#0", "d1#1", "d2#0"]
    assert index.search(rows[3:4], 1)[1].tolist() == [[3]]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda e: e[:2],
            {},
            "embeddings has 2 rows, but the 3 passages have 3 embeddings with granularity='passage'",
        ),
        (lambda e: e[:, :16], {}, "embeddings has dimension 16 and the model 32"),
        (lambda e: e[0], {}, r"embeddings has shape \(32,\), expected \(n_embeddings, 32\)"),
        (lambda e: torch.cat([e[:2], e[:1] * torch.nan]), {}, "embeddings: embedding 2 of 3 holds NaN"),
        (lambda e: e[[1, 0, 2]], {}, r"embeds passage 0 \(id 'd0'\) in another way"),
        (lambda e: e, {"ids": ["d0", "d1"]}, "ids has 2 entries for 3 embeddings"),
        (lambda e: e, {"ids": ["d0", "d1", "Q9"]}, "ids: entry 2, 'Q9', names none of the passages"),
        (lambda e: e, {"ids": ["d0", "d1", "d0"]}, "ids: entries 0 and 2 both name 'd0'"),
    ],
)
def test_faulty_embeddings(
    linker: tuple[Any, Any, Tensor], change: Any, options: dict[str, Any], message: str
) -> None:
    model, tokenizer, embeddings = linker
    with pytest.raises(ValueError, match=message):
        PassageIndex.from_embeddings(change(embeddings), DOCUMENTS, model, tokenizer, **options)


class Mine:
    """A pickle that would run code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_is_refused_and_never_run(linker: tuple[Any, Any, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "OneGen-EntityLinking-Llama2-7B-Embedding.pkl"
    for content in ((linker[2], ["d0", "d1", "d2"]), Mine(tmp_path / "run")):
        file.write_bytes(pickle.dumps(content))
        for name in (file, str(file), tmp_path):
            with pytest.raises(ValueError, match=r"is no index.*PassageIndex.from_embeddings.*paper_checkpoints"):
                PassageIndex.load(name)
        with pytest.raises(ValueError, match=r"can't be read without running code[\s\S]*save_file"):
            read_embeddings(file)
    file.write_bytes(pickle.dumps(Mine(tmp_path / "run"), protocol=2))
    with pytest.raises(ValueError, match="can't be read without running code"):
        read_embeddings(file)
    assert not (tmp_path / "run").exists()


def test_a_file_without_embeddings(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_embeddings(tmp_path / "none.pt")
    torch.save(["a", "b", "c"], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds no embeddings of shape"):
        read_embeddings(tmp_path / "list.pt")
    for name in ("junk.pt", "junk.safetensors"):
        (tmp_path / name).write_bytes(b"junk")
        with pytest.raises(ValueError, match="junk"):
            read_embeddings(tmp_path / name)


def test_the_old_name_of_preset_keeps_working(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    path = checkpoints["multi-hop-paper"]
    with pytest.warns(FutureWarning, match="tokens is now called preset"):
        model = OneGenForCausalLM.from_pretrained(path, tokens="multi-hop-paper")
    assert model.onegen_config == preset("multi-hop-paper")
    tokenizer = load_tokenizer(path)
    PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False).save(tmp_path)
    with pytest.warns(FutureWarning, match="tokens is now called preset"):
        rag = pipeline("onegen-rag", model=str(path), tokens="multi-hop-paper", index=str(tmp_path))
    assert rag.model.onegen_config == preset("multi-hop-paper")
