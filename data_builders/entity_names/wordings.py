"""Made-up sentences with places for names, by the kind of entity that fits there."""

from __future__ import annotations

import re

KINDS = ("person", "organization", "place", "work", "thing")
_SLOT = re.compile(r"\{(" + "|".join(KINDS) + r")\}")

WORDINGS = (
    "{person} was born in {place} and later worked for {organization}.",
    "Yesterday {person} met {person} in {place}.",
    "After the talks, {person} flew back to {place}, while {person} stayed.",
    "{person} has written about {thing} for more than ten years.",
    "The band of {person} will play in {place} on Friday.",
    "It was {person} who asked {organization} for help, says {person}.",
    "{person}'s latest interview is mostly about {work}.",
    "{person} and {person} were married in {place}; two years later they were divorced.",
    "Few people know that {person} grew up near {place}.",
    "Critics praised {person} for {work}, but the audience was not convinced.",
    "Before joining {organization}, {person} was a {thing} in {place}.",
    "{person}, {person} and {person} are on the list again this year.",
    "The award went to {person} of {organization}.",
    "{person} scored twice as {organization} beat {organization}.",
    "{organization} said on Monday that it will leave {place}.",
    "Shares of {organization} fell after a report by {organization}.",
    "{organization} and {organization} have signed an agreement in {place}.",
    "A spokesman of {organization} did not want to speak about {thing}.",
    "According to {organization}, the price of {thing} will rise.",
    "{organization} has named {person} as its new chairman.",
    "Founded in {place}, {organization} now employs nine hundred people.",
    "The new station connects {place} with {place}.",
    "{place} is larger than {place}, but fewer people live there.",
    "In {place} the weather was so bad that {organization} closed its doors.",
    "She moved from {place} to {place} in order to study {thing}.",
    "The river rises in {place} and flows through {place}.",
    "Elections in {place} will be held in May.",
    "Farmers in {place} grow {thing} as well as {thing}.",
    "{work} was shown for the first time in {place}.",
    "Everybody was reading {work} that summer.",
    "{work} is better than {work}, {person} thinks.",
    "The makers of {work} asked {person} for a sequel.",
    "You can't compare {work} with anything that {organization} has done before.",
    "The teacher spoke about {thing}, {thing} and {place}.",
    "Nobody had expected {thing} to be so popular in {place}.",
    "There is more to {thing} than most people believe.",
    "With {thing} alone, no {thing} could be saved.",
    "Reports about {thing} came from {place} and from {place}.",
    "{thing} is one of the subjects that {person} taught at {organization}.",
    "Most visitors come for {thing}.",
    "so happy to see {person} tonight!!",
    "RT @someone_{number}: {person} is at it again lol",
    "omg {organization} just cancelled my order :(",
    "watching {work} w/ my sister, so good",
    "Just landed in {place}, who is around? #travel",
    "can't believe {organization} lost to {organization} ... #fail",
    "@user{number} did you hear what {person} said about {organization}?",
    "Anyone going to {place} for {thing} this weekend?",
    "New photos: {person} in {place} http://example.org/{number}",
    "i just want {thing} and a day off",
    "Good morning {place}! today: {thing}, later {thing}",
    "{person} vs {person} tonight, my money is on {person}",
)
"""Names go where a kind stands in braces; `{number}` is any number. Some are prose, some short messages."""


def slots(wording: str) -> list[str]:
    """The kinds of the places of a wording, in order."""
    return _SLOT.findall(wording)


def fill(wording: str, names: list[str], number: int) -> tuple[str, list[tuple[int, int]]]:
    """
    Write a text.

    Args:
        wording (`str`): One of [`WORDINGS`].
        names (`list[str]`): One for each place.
        number (`int`): Stands for `{number}`.

    Returns:
        `tuple[str, list[tuple[int, int]]]`: The text, and where the names stand in it.
    """
    pieces = _SLOT.split(wording.replace("{number}", str(number)))[::2]
    text, spans = pieces[0], []
    for name, piece in zip(names, pieces[1:], strict=True):
        spans.append((len(text), len(text) + len(name)))
        text += name + piece
    return text, spans
