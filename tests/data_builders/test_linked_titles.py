"""`LinkedTitlesConverter`: passages that name each other's titles become examples of entity linking."""

import json

import pytest
from datasets import load_dataset

from data_builders.build import build_repository
from data_builders.entity_linking.annotation import remove_annotation
from data_builders.entity_linking.kinds import instruction_for
from data_builders.linked_titles.converter import LinkedTitlesConverter
from data_builders.linked_titles.mentions import mark_titles
from data_builders.linked_titles.titles import TitleTable, clean_text, clean_title, description_of
from data_builders.linked_titles.words import Spelling, words_of

PASSAGES = [
    ("Ada Moll", "Ada Moll (born 4 May 1950) is a poet. Ada Moll grew up in Tollburg with Ben Kern."),
    ("Ben Kern", "Ben Kern was a singer. He left Tollburg in May and met Moll there."),
    ("Tollburg", "Tollburg is a town on the water of the Ruh. All roads lead to Tollburg, near Tollburg Castle."),
    ("Long Way (film)", "Long Way is a film. The film Long Way was shot in Tollburg."),
    ("Ruhland Railway Company", "The Ruhland Railway Company (RRC) is a company. Its water is clean, Kern says."),
    ("Clean water", "Clean water is water that is clean. Ada Moll drinks clean water in Tollburg."),
]


COMMON = (
    "it was so that later the film and water in may of her own there. so they went there; but yesterday the castle "
    "was shut"
)


@pytest.fixture
def table():
    spelling = Spelling()
    for text in [COMMON, *(text for _, text in PASSAGES)]:
        spelling.add(text)
    made = TitleTable(spelling)
    for title, text in PASSAGES:
        made.add(title, [text])
    return made


def found(text, table, own_title=""):
    marked = mark_titles(text, own_title, table)
    return (
        [(text[start:end], title, kind) for start, end, title, kind in marked.mentions],
        [text[start:end].strip() for start, end in marked.uncertain],
    )


def test_whole_names_are_linked_and_their_surnames_after_them(table):
    mentions, uncertain = found("Later Ada Moll met Kern, but Moll did not stay.", table)
    assert mentions == [("Ada Moll", "Ada Moll", "title"), ("Moll", "Ada Moll", "short_form")]
    assert uncertain == ["Kern"]


def test_a_surname_of_two_persons_is_not_sure(table):
    table.add("Eva Moll", ["Eva Moll is a singer."])
    mentions, uncertain = found("There Ada Moll met Eva Moll, and Moll left.", table)
    assert [text for text, *_ in mentions] == ["Ada Moll", "Eva Moll"]
    assert uncertain == ["Moll"]


def test_initials_stand_for_the_name_before_them(table):
    mentions, _ = found("In 1900 the Ruhland Railway Company (RRC) was small; today the RRC is not.", table)
    assert mentions == [
        ("Ruhland Railway Company", "Ruhland Railway Company", "title"),
        ("RRC", "Ruhland Railway Company", "short_form"),
        ("RRC", "Ruhland Railway Company", "short_form"),
    ]


def test_a_name_that_needs_brackets_is_linked_in_its_own_article_only(table):
    text = "They watched Long Way twice."
    assert found(text, table) == ([("Long Way", None, "ambiguous")], [])
    assert found(text, table, "Long Way (film)") == ([("Long Way", "Long Way (film)", "own_title")], [])


def test_a_part_of_a_longer_name_is_uncertain(table):
    assert found("They went to Tollburg Castle.", table) == ([], ["Tollburg", "Castle"])
    assert found("Later she reads at the University of Tollburg.", table) == ([], ["University", "Tollburg"])


def test_what_is_no_name_is_neither_marked_nor_uncertain(table):
    assert found("Water is clean. In May the roads are long.", table) == ([], [])
    assert found("They drank Clean water there.", table) == ([], [])


def test_capitalised_words_that_no_title_has_are_a_name_that_is_not_linked(table):
    for _ in range(3):
        table.spelling.add("He saw Carl Dorn there")
    assert found("Yesterday they met Carl Dorn. The film was long.", table) == ([("Carl Dorn", None, "unlisted")], [])
    # At the beginning of a sentence the first word may be no part of it.
    assert found("Carl Dorn left.", table) == ([], ["Carl", "Dorn"])


def test_a_frequent_name_is_marked_where_it_stands_alone(table):
    text = "They went to Quarn."
    assert found(text, table) == ([], ["Quarn"])
    for _ in range(10):
        table.spelling.add("It rains in Quarn and in NFLX")
    assert found(text, table) == ([("Quarn", None, "unlisted")], [])
    assert found("They went to NFLX.", table) == ([], ["NFLX"])


def test_a_longer_name_is_not_cut_at_a_title(table):
    table.add("Carl", ["Carl is a name."])
    for _ in range(3):
        table.spelling.add("He saw Carl Dorn there, and Carl, with Carl.")
    assert found("They met Carl Dorn.", table) == ([("Carl Dorn", None, "unlisted")], [])


def test_mentions_and_uncertain_spans_never_overlap(table):
    for _, text in PASSAGES:
        marked = mark_titles(text, "", table)
        spans = sorted([*marked.mentions, *marked.uncertain])
        assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))


def test_words_and_beginnings():
    words = words_of("The U.S won. \"We\" met O'Brien's AT&T.")
    assert [word.text for word in words] == ["The", "U.S", "won", "We", "met", "O'Brien", "s", "AT&T"]
    assert [word.text for word in words if word.begins] == ["The", "We"]


def test_titles_and_texts_are_cleaned():
    assert clean_title("Ada Moll - Family") == clean_title("Ada Moll -") == "Ada Moll"
    assert clean_text("Ada Moll Ada Moll was a poet.", "Ada Moll") == "Ada Moll was a poet."
    assert clean_text("Paris Hilton was born here.", "Paris") == "Paris Hilton was born here."
    assert clean_text("Section::::Life. Section::::Youth. She sang.", "Ada Moll") == "She sang."
    assert description_of("where she lived. Ada Moll died.", "Ada Moll") == ()
    assert description_of("Ada Moll was a poet. She died.", "Ada Moll", most=25) == ("Ada Moll was a poet.",)


@pytest.fixture
def built(tmp_path):
    source = tmp_path / "passages.jsonl"
    source.write_text("".join(json.dumps({"title": title, "text": text}) + "\n" for title, text in PASSAGES))

    def build(examples=None, documents=(), **options):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        report = build_repository(LinkedTitlesConverter(**options), out, {"train": examples or source}, documents)
        return report, load_dataset(str(out), "examples", split="train"), load_dataset(str(out), "documents")["train"]

    return build


def test_the_catalogue_is_described_by_first_sentences(built):
    _, _, documents = built()
    described = {row["id"]: row["sentences"] for row in documents}
    assert set(described) == {title for title, _ in PASSAGES}
    assert described["Tollburg"][0] == "Tollburg is a town on the water of the Ruh."


def test_examples_repeat_the_text_and_count_by_kind(built):
    report, examples, _ = built()
    for example in examples:
        user, assistant = (message["content"] for message in example["messages"])
        assert user == f"{instruction_for('names')}\n\n{remove_annotation(assistant)}"
        assert assistant.count("[LK][CON]") == len(example["positives"])
    counts = report["splits"]["train"]["meta"]["mention_counts"]
    assert counts["own_title"] >= 5 and counts["title"] >= 3 and counts["uncertain"] >= 3


def test_kinds_leave_other_names_unmarked(built):
    _, examples, _ = built(kinds="persons")
    for example in examples:
        assert "<MENTION>Tollburg</MENTION>" not in example["messages"][1]["content"]
    assert any(["Ada Moll"] in example["positives"] for example in examples)
    with pytest.raises(ValueError, match="proper names only"):
        LinkedTitlesConverter(kinds="persons,nouns")


def test_other_texts_without_titles_may_be_the_examples(built, tmp_path):
    news, passages = tmp_path / "news.jsonl", tmp_path / "all.jsonl"
    news.write_text(json.dumps({"text": "On Friday Ada Moll spoke."}) + "\n")
    passages.write_text("".join(json.dumps({"title": title, "text": text}) + "\n" for title, text in PASSAGES))
    _, examples, documents = built(examples=news, documents=passages)
    assert [example["positives"] for example in examples] == [[["Ada Moll"]]]
    assert len(documents) == len(PASSAGES)
