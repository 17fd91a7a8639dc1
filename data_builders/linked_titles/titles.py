"""`TitleTable`: which names the titles of an encyclopedia go by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from data_builders.linked_titles.words import Spelling, words_of
from data_builders.single_hop.sentences import split_sentences

LONGEST = 8
"""Words of the longest name that is looked for."""
_SECTION = re.compile(r"\s+-(?:\s.*)?$")
_BRACKETS = re.compile(r"\s*\([^()]*\)$")
_HEADINGS = re.compile(r"^(?:Section::::[^.]*\.\s*)+")
_LISTS = re.compile(r"(?:List|Lists|Index|Outline|Timeline|History|Geography|Economy|Culture|Demographics) of\b")
_PERSON = re.compile(
    r"\(\s*(?:born\b|[^()]*\d{4}\s*[-–—][^()]*\d{4})|\b(?:is|was) (?:an?|the) (?:[\w'’-]+,? ){0,7}?(?:act(?:or|ress)"
    r"|singer|songwriter|musician|politician|writer|author|poet|novelist|footballer|player|coach|director|producer"
    r"|composer|painter|artist|scientist|physicist|chemist|mathematician|historian|philosopher|lawyer|judge|general"
    r"|officer|soldier|businessman|businesswoman|journalist|comedian|model|dancer|rapper|wrestler|boxer|driver"
    r"|engineer|architect|bishop|priest|king|queen|prince|princess|emperor|president|character)\b"
)
_PLACE = re.compile(
    r"\b(?:is|was|are) (?:an?|the|one of the) (?:[\w'’-]+,? ){0,6}?(?:city|town|village|municipality|county|country"
    r"|state|province|region|district|island|islands|river|lake|mountain|capital|suburb|neighbou?rhood|peninsula"
    r"|commune|borough|territory|community|census-designated place|township|sea|desert|valley)\b"
)
_ORGANIZATION = re.compile(
    r"\b(?:is|was|are|were) (?:an?|the) (?:[\w'’-]+,? ){0,7}?(?:company|corporation|organi[sz]ation|club|team|band"
    r"|group|university|college|school|party|agency|association|league|airline|bank|newspaper|institution|institute"
    r"|foundation|union|church|federation|network|retailer|manufacturer|franchise)\b"
)
_KINDS = {"persons": _PERSON, "places": _PLACE, "organizations": _ORGANIZATION}


class Title(NamedTuple):
    """
    A title.

    Args:
        text (`str`): Without the section of an article that some have behind a dash.
        name (`str`): Without the brackets that tell it apart.
        kind (`str`, *optional*): One of the kinds of proper names, if the description tells.
        description (`tuple[str, ...]`): First sentences of its article; empty if no passage begins there.
    """

    text: str
    name: str
    kind: str | None = None
    description: tuple[str, ...] = ()


def clean_title(title: str) -> str:
    """The title of the article that a passage is from."""
    return _SECTION.sub("", title).strip()


def clean_text(text: str, title: str) -> str:
    """A passage without headings that were run into its text."""
    text = _HEADINGS.sub("", text).strip()
    after = text[len(title) :].lstrip(" ") if title and text.startswith(f"{title} ") else ""
    # "Boston Celtics The Boston Celtics are": the title stands in front of a text that names it again.
    if after[:1].isupper() and title.split()[-1].casefold() in after[:80].casefold():
        return after
    return text


def description_of(text: str, name: str, most: int = 300) -> tuple[str, ...]:
    """
    The first sentences of a passage, if it begins with what its title names.

    Args:
        text (`str`): The passage.
        name (`str`): The title without brackets.
        most (`int`, *optional*, defaults to 300): Characters, but for the first sentence.
    """
    head = name.split()[-1].casefold()
    sentences = [span.text for span in split_sentences(text)]
    if not sentences or not text[:1].isupper() or head not in text[:60].casefold():
        return ()
    kept = 1
    while kept < len(sentences) and len(" ".join(sentences[: kept + 1])) <= most:
        kept += 1
    return tuple(sentences[:kept])


class TitleTable:
    """
    Titles by the names that texts call them.

    Args:
        spelling ([`Spelling`]): Of the corpus; titles that it writes in small letters are no names.
    """

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling
        self.titles: dict[str, Title] = {}
        self._by_name: dict[str, list[str]] = {}
        self._first_words: set[str] = set()

    def add(self, title: str, passages: Sequence[str]) -> Title:
        """Add a title with the passages of its article, and return what is known of it."""
        name = _BRACKETS.sub("", title) or title
        description = next((found for text in passages if (found := description_of(text, name))), ())
        first = description[0] if description else ""
        kind = next((kind for kind, pattern in _KINDS.items() if pattern.search(first)), None)
        known = self.titles[title] = Title(title, name, kind, description)
        if self.is_proper(name):
            self._by_name.setdefault(name, []).append(title)
            self._first_words.add(words_of(name)[0].text)
        return known

    def is_proper(self, name: str) -> bool:
        """Whether a name is written with capitals wherever it stands."""
        words = words_of(name)
        if not words or len(words) > LONGEST or _LISTS.match(name):
            return False
        if len(words) == 1:
            return self.spelling.is_name(words[0].text)
        # The first word of a title is always written with a capital.
        return words[0].capitalised and any(word.capitalised for word in words[1:])

    def called(self, name: str) -> list[str]:
        """The titles that go by a name."""
        return self._by_name.get(name, [])

    def may_begin(self, word: str) -> bool:
        """Whether any name begins with a word."""
        return word in self._first_words

    def short_forms(self, title: str) -> list[str]:
        """What texts call it once they have named it in full: a surname, initials, a place without its region."""
        name, kind = self.titles[title].name, self.titles[title].kind
        words = [word.text for word in words_of(name)]
        forms = []
        if kind == "persons" and 2 <= len(words) <= 4 and self.spelling.is_name(words[-1]):
            forms.append(words[-1])
        if kind == "places" and ", " in name:
            forms.append(name.partition(",")[0])
        initials = "".join(word[0] for word in words if word[0].isupper())
        if len(initials) > 2 and kind != "persons":
            forms.append(initials)
        return forms
