"""Sub-questions for facts: a template per relation, and one for all the others."""

from __future__ import annotations

TEMPLATES = {
    "author": "Who wrote {}?",
    "award received": "Which award did {} receive?",
    "based on": "What is {} based on?",
    "capital": "What is the capital of {}?",
    "cast member": "Who starred in {}?",
    "cause of death": "What did {} die of?",
    "characters": "Which character appears in {}?",
    "child": "Who is the child of {}?",
    "composer": "Who composed the music of {}?",
    "country": "Which country is {} in?",
    "country of citizenship": "What is the nationality of {}?",
    "country of origin": "Which country is {} from?",
    "creator": "Who created {}?",
    "date of birth": "When was {} born?",
    "date of death": "When did {} die?",
    "developer": "Who developed {}?",
    "director": "Who directed {}?",
    "director of photography": "Who was the cinematographer of {}?",
    "distributed by": "Who distributed {}?",
    "doctoral advisor": "Who was the doctoral advisor of {}?",
    "educated at": "Where was {} educated?",
    "editor": "Who edited {}?",
    "employer": "Who employed {}?",
    "father": "Who is the father of {}?",
    "followed by": "What follows {}?",
    "follows": "What does {} follow?",
    "founded by": "Who founded {}?",
    "has part": "What is a part of {}?",
    "headquarters location": "Where are the headquarters of {}?",
    "inception": "When was {} founded?",
    "instance of": "What is {}?",
    "instrument": "Which instrument does {} play?",
    "languages spoken, written or signed": "Which language does {} speak?",
    "located in the administrative territorial entity": "Where is {} located?",
    "location": "Where is {} located?",
    "lyrics by": "Who wrote the lyrics of {}?",
    "manufacturer": "Who made {}?",
    "member of": "What is {} a member of?",
    "member of sports team": "Which team does {} play for?",
    "mother": "Who is the mother of {}?",
    "named after": "What is {} named after?",
    "notable work": "What is a notable work of {}?",
    "occupation": "What does {} do for a living?",
    "original network": "Which network first broadcast {}?",
    "owned by": "Who owns {}?",
    "part of": "What is {} a part of?",
    "performer": "Who performed {}?",
    "place of birth": "Where was {} born?",
    "place of burial": "Where was {} buried?",
    "place of death": "Where did {} die?",
    "place of detention": "Where was {} detained?",
    "position held": "Which position did {} hold?",
    "presenter": "Who presented {}?",
    "producer": "Who produced {}?",
    "production company": "Which company produced {}?",
    "publication date": "When was {} released?",
    "publisher": "Who published {}?",
    "record label": "Which record label released {}?",
    "religion": "What is the religion of {}?",
    "residence": "Where does {} live?",
    "screenwriter": "Who wrote the screenplay of {}?",
    "shares border with": "What does {} border?",
    "sibling": "Who is the sibling of {}?",
    "spouse": "Who is the spouse of {}?",
    "student of": "Who was the teacher of {}?",
    "subsidiary": "What is a subsidiary of {}?",
}
"""Relation, by its name in Wikidata → question; `{}` is the subject."""


def ask(subject: str, relation: str) -> str:
    """
    Ask for the object of a fact.

    Args:
        subject (`str`):
            Such as `"The Tin Boat"`.
        relation (`str`):
            Such as `"director"`; one without a template of its own is asked for by its name.

    Returns:
        `str`: Such as `"Who directed The Tin Boat?"`.
    """
    name = " ".join(relation.replace("_", " ").split())
    return TEMPLATES.get(name.casefold(), f"What is the {name} of {{}}?").replace("{}", subject)
