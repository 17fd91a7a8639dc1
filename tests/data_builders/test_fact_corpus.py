"""The fact corpus is sound: facts, passages, questions and their split."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from datasets import load_dataset

from data_builders.facts.builder import FactCorpus, build_fact_corpus, build_facts, write_facts
from data_builders.facts.comparisons import COMPARISONS, compare_pair
from data_builders.facts.fact_base import FACTS_DIR, FactBase
from data_builders.facts.passages import passage
from data_builders.facts.relations import chains, make_step
from data_builders.facts.split import held_out_titles, load_demo_questions
from data_builders.multi_hop.comparison import compare
from data_builders.schema import validate_example


@pytest.fixture(scope="module")
def facts() -> FactBase:
    return FactBase()


@pytest.fixture(scope="module")
def corpus() -> FactCorpus:
    return build_fact_corpus(train_size=600, dev_size=120)


def test_dates_are_dates_in_order(facts: FactBase) -> None:
    for person in facts.of_kind("person"):
        for name in ("birth", "death"):
            if len(person[name]) > 4:
                datetime.date.fromisoformat(person[name])
        assert person["birth"], person.title
        lived = int((person["death"] or "2025")[:4]) - int(person["birth"][:4])
        assert 20 < lived < 105, person.title
        for made in (*facts.films_of.get(person.title, ()), *facts.works_of.get(person.title, ())):
            assert int(person["birth"][:4]) + 15 < int(made["year"]) < 2026, made.title
        assert person["known_for"] or facts.films_of.get(person.title), person.title


def test_every_fact_asked_about_stands_in_its_passage(facts: FactBase) -> None:
    for seed in range(4):
        texts = {entity.title: " ".join(passage(entity, facts, seed)) for entity in facts.entities.values()}
        for chain in chains(facts):
            for step in chain.steps:
                text = texts[step.title]
                assert step.answer in text or step.relation in ("film_country", "nationality"), (step, text)
        assert all(2 <= len(passage(entity, facts, seed)) <= 4 for entity in facts.entities.values())


def test_ids_and_questions_are_unique(corpus: FactCorpus) -> None:
    ids = [document["id"] for document in corpus.documents]
    assert len(ids) == len(set(ids)) > 350
    for records in corpus.questions.values():
        questions = [record["question"] for record in records]
        assert len(questions) == len(set(questions))


def test_size_and_balance(corpus: FactCorpus) -> None:
    assert [len(corpus.questions[split]) for split in ("train", "dev")] == [600, 120]
    for records in corpus.questions.values():
        types = Counter(record["type"] for record in records)
        assert set(types) == {"single_hop", "compositional", "comparison", "bridge_comparison"}
        answers = Counter(record["answer"] for record in records)
        assert abs(answers["yes"] - answers["no"]) <= 6
        assert any(len(record["decomposition"]) == 3 for record in records)


def test_contexts_hold_the_gold_and_no_second_answer(corpus: FactCorpus) -> None:
    texts = {document["title"]: " ".join(document["sentences"]) for document in corpus.documents}
    for records in corpus.questions.values():
        for record in records:
            titles, gold = record["context_titles"], {step["title"] for step in record["decomposition"]}
            assert len(titles) == len(set(titles)) == 10 and gold <= set(titles)
            for title in set(titles) - gold:
                text = f"{title} {texts[title]}"
                for step in record["decomposition"]:
                    names = (step["title"], step["answer"])
                    assert not all(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)


def test_split_is_disjoint(corpus: FactCorpus) -> None:
    held_out = corpus.held_out
    assert 0.2 < len(held_out) / len(corpus.documents) < 0.3
    for record in corpus.questions["train"]:
        answers = [step["answer"] for step in record["decomposition"]]
        assert not held_out & {*record["context_titles"], *answers, record["answer"]}
    for record in corpus.questions["dev"]:
        starts = 2 if "comparison" in record["type"] else 1
        assert all(title in held_out for title, _ in record["supporting_facts"][:starts])


def test_comparisons_agree_with_the_answers(corpus: FactCorpus) -> None:
    for record in corpus.questions["train"]:
        if "comparison" in record["type"]:
            found = compare(record["type"], [s["answer"] for s in record["decomposition"]], record["answer"])
            assert found is not None
            if found.operator in ("<", ">"):
                earlier = record["supporting_facts"]["<>".index(found.operator)][0]
                assert (earlier == record["answer"]) == record["template"].endswith("1")


def test_demo_questions_are_answered_by_the_facts(facts: FactBase) -> None:
    held_out = held_out_titles(facts)
    asked = {(word, chain.steps[-1].answer) for chain in chains(facts) for word in chain.wordings}
    questions = load_demo_questions()
    assert 8 <= len(questions) <= 12
    for question in questions:
        assert set(question["starts"]) <= held_out & set(question["titles"])
        assert all(title in facts for title in question["titles"])
        if "comparison" in question["type"]:
            first, second = (facts[title] for title in question["starts"])
            kinds = [comparison for comparison in COMPARISONS if comparison.kind == first.kind]
            pairs = [pair for kind in kinds if (pair := compare_pair(kind, first, second, facts))]
            asked |= {(word, pair.answer) for pair in pairs for word in pair.wordings}
        assert (question["question"], question["answer"]) in asked, question["question"]


def test_unknown_facts_are_not_asked(facts: FactBase) -> None:
    blank = next(person for person in facts.of_kind("person") if not person["nationality"])
    assert make_step(blank, "nationality", facts) is None
    year_only = next(person for person in facts.of_kind("person") if len(person["birth"]) == 4)
    assert make_step(year_only, "birth_date", facts) is None and make_step(year_only, "birth_year", facts)


def test_examples_are_valid() -> None:
    documents, tables, report = build_facts(200, 40)
    ids = set(documents["id"])
    for table in tables.values():
        for example in table:
            validate_example(example, ids)
            assert all(len(negatives) == 5 for negatives in example["negatives"])
    assert report["train"]["examples"] == 200 and report["dev"]["hops_without_negatives"] == 0


def test_every_comparison_in_order_can_say_which_is_later() -> None:
    _, tables, _ = build_facts(200, 40, write_order=True)
    answers = [row["messages"][-1]["content"] for table in tables.values() for row in table]
    ordered = [text for text in answers if " < " in text or " > " in text]
    assert len(ordered) > 20
    for text in ordered:
        line, later, earlier, asked, answer = text.splitlines()[-5:]
        assert line.startswith("Compare: ") and later.startswith("Later: ") and earlier.startswith("Earlier: ")
        assert asked in (later, earlier) and asked.endswith(answer.removeprefix("Answer"))
    assert not any("Later: " in text for text in answers if text not in ordered)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_small_splits_are_as_large_as_asked(size: int) -> None:
    _, tables, report = build_facts(size, size)
    assert [len(table) for table in tables.values()] == [size, size] == [report[split]["examples"] for split in tables]


@pytest.mark.parametrize("sizes", [(0, 5), (5, -1)])
def test_a_split_without_questions_is_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="_size=.* must be from 1 to 100000 questions"):
        build_facts(*sizes)


def test_same_seed_same_bytes_other_seed_other_questions(tmp_path: Path) -> None:
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_facts(tmp_path / out, 120, 30, seed)
    for name in ("README.md", "documents/train.parquet", "examples/train.parquet", "examples/dev.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    train = "examples/train.parquet"
    assert (tmp_path / "a" / train).read_bytes() != (tmp_path / "c" / train).read_bytes()
    documents = load_dataset(str(tmp_path / "a"), "documents", split="train", cache_dir=str(tmp_path / "cache"))
    dev = load_dataset(str(tmp_path / "a"), "examples", split="dev", cache_dir=str(tmp_path / "cache"))
    assert len(documents) > 350 and len(dev) == 30
    assert json.loads(dev[0]["meta"])["decomposition"] == "given"


def test_broken_tables_are_refused(tmp_path: Path) -> None:
    for path in FACTS_DIR.glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    films = (tmp_path / "films.csv").read_text(encoding="utf-8")
    (tmp_path / "films.csv").write_text(films + "Nothing,1999,Nobody,France,drama,nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="its director 'Nobody' is no person"):
        FactBase(tmp_path)
    (tmp_path / "films.csv").write_text(films + "Paris,1999,Fritz Lang,France,drama,nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="'Paris' is used twice"):
        FactBase(tmp_path)
