"""Which names of a passage are surely mentions of titles, which are surely mentions of something, and which may be."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from data_builders.linked_titles.titles import LONGEST, TitleTable
from data_builders.linked_titles.words import Word, adjacent, is_demonym, words_of

_INITIALS = re.compile(r" \(([A-Z][A-Za-z&]{1,6})\)")
_JOINING = frozenset({"of", "the", "de", "von", "van", "du", "der", "la", "le", "di", "da", "for", "and", "&"})


class TitleMention(NamedTuple):
    """A mention: its place, the title (`None`: of none that is known), and how it was recognised."""

    start: int
    end: int
    title: str | None
    kind: str


class Marked(NamedTuple):
    """The mentions of a passage, and the spans that may or may not be one; both in order and without overlaps."""

    mentions: list[TitleMention]
    uncertain: list[tuple[int, int]]

    def counts(self) -> Counter[str]:
        """How many there are, by kind."""
        counts = Counter(mention.kind for mention in self.mentions)
        counts["uncertain"] = len(self.uncertain)
        return counts


def mark_titles(text: str, own_title: str, table: TitleTable) -> Marked:
    """
    Find the names in a passage.

    | kind | mention |
    |---|---|
    | `own_title` | what the passage's own article is on, by its name or a short form |
    | `title` | the whole name of another title, which has no other meaning |
    | `short_form` | a surname, initials or the like of a title that was named in full before |
    | `ambiguous` | a name of several titles, or of one that needs brackets: marked, not linked |
    | `unlisted` | a frequent name, or two words and more with capitals, which no title is: marked, not linked |

    Every other word with a capital is uncertain, unless it begins a sentence and is a common word, or is a day or a
    month.

    Args:
        text (`str`): The passage.
        own_title (`str`): The title of its article; empty if it has none.
        table ([`TitleTable`])
    """
    words = words_of(text)
    mentions: list[TitleMention] = []
    uncertain: list[tuple[int, int]] = []
    short: dict[str, str | None] = dict.fromkeys(table.short_forms(own_title) if own_title else (), own_title)
    number = 0
    while number < len(words):
        found = _title_at(text, words, number, own_title, table) or _short_form_at(words, number, short, own_title)
        length = _unlisted_at(text, words, number, table)
        # "Paul Schrader" is one name, although "Paul" is a title.
        if length and (found is None or found.end < words[number + length - 1].end):
            found = TitleMention(words[number].start, words[number + length - 1].end, None, "unlisted")
        if found is None:
            word = words[number]
            if word.capitalised and not table.spelling.is_common(word.text):
                uncertain.append(_with_space(text, word))
            number += 1
            continue
        last = next(place for place in range(len(words) - 1, -1, -1) if words[place].start < found.end)
        if _is_part_of_longer(text, words, number, last, table):
            for word in words[number : last + 1]:
                if word.capitalised:
                    uncertain.append(_with_space(text, word))
        else:
            mentions.append(found)
            forms = table.short_forms(found.title) if found.title else []
            if initials := _INITIALS.match(text, found.end):
                forms.append(initials[1])
            for form in forms if found.title else ():
                # Two persons of one surname: neither is sure.
                short[form] = found.title if short.get(form, found.title) == found.title else None
        number = last + 1
    return Marked(mentions, uncertain)


def _title_at(text: str, words: list[Word], number: int, own_title: str, table: TitleTable) -> TitleMention | None:
    first = words[number]
    if not table.may_begin(first.text):
        return None
    for last in range(min(number + LONGEST, len(words)) - 1, number - 1, -1):
        end = words[last].end
        for stop in (end + 1, end) if text[end : end + 1] in (".", "!") else (end,):
            titles = table.called(text[first.start : stop])
            if not titles:
                continue
            name = text[first.start : stop]
            if own_title in titles:
                return TitleMention(first.start, stop, own_title, "own_title")
            if len(titles) > 1 or table.titles[titles[0]].text != name:
                return TitleMention(first.start, stop, None, "ambiguous")
            if number != last or table.spelling.stands_alone(name):
                return TitleMention(first.start, stop, titles[0], "title")
            return None
    return None


def _short_form_at(
    words: list[Word], number: int, short: dict[str, str | None], own_title: str
) -> TitleMention | None:
    title = short.get(words[number].text)
    if title is None:
        return None
    kind = "own_title" if title == own_title else "short_form"
    return TitleMention(words[number].start, words[number].end, title, kind)


def _unlisted_at(text: str, words: list[Word], number: int, table: TitleTable) -> int:
    """The number of words of a name that no title has; 0 if there is none, or it is not sure where it ends."""
    length = 0
    while number + length < len(words):
        word = words[number + length]
        if not word.capitalised or (length and not adjacent(text, words[number + length - 1], word)):
            break
        if not table.spelling.is_name(word.text) and not (length and len(word.text) == 1):
            return 0
        length += 1
    first = words[number]
    if first.begins or length > 4 or (number and _joins(words, number - 1)):
        return 0
    return length if length > 1 or (length and table.spelling.is_frequent_name(first.text)) else 0


def _joins(words: list[Word], number: int) -> bool:
    """Whether a word such as "of" joins two names."""
    if number < 1 or words[number].text not in _JOINING - {"and"}:
        return False
    before = words[number - 1]
    return before.capitalised or (before.text in _JOINING and number > 1 and words[number - 2].capitalised)


def _is_part_of_longer(text: str, words: list[Word], first: int, last: int, table: TitleTable) -> bool:
    """Whether a name goes on before or behind what was recognised, so that it may be a part of a longer one."""
    after = words[last + 1] if last + 1 < len(words) else None
    if after is not None and text[words[last].end : after.start] in (" ", "-", " & ") and _may_be_of_name(after):
        return True
    single = first == last
    if single and after is not None and after.text in ("of", "for", "&") and last + 2 < len(words):
        beyond = words[last + 2]
        return beyond.capitalised or (beyond.text == "the" and last + 3 < len(words) and words[last + 3].capitalised)
    if not first:
        return False
    before = words[first - 1]
    named = before.capitalised and not (before.begins and table.spelling.is_common(before.text))
    if named and (single or is_demonym(before.text)) and adjacent(text, before, words[first]):
        return True
    return single and _joins(words, first - 1)


def _may_be_of_name(word: Word) -> bool:
    """Whether a word behind a name may belong to it: one with a capital, or such as "49ers"."""
    return word.capitalised or (word.text[0].isdigit() and not word.text.isdigit())


def _with_space(text: str, word: Word) -> tuple[int, int]:
    """A word with the space before it: a mention opens after the space, so that the space is a token of its own."""
    return word.start - (text[word.start - 1 : word.start] == " "), word.end
