"""Which examples of which builds the training sees, and how much of their catalogue is described."""

from __future__ import annotations

from experiments.people.mixture import Share

LABELLED = {
    "labelled_names": Share(times=10),
    "labelled_persons_places_organizations": Share(times=2),
    "labelled_names_demonyms": Share(times=1),
    "labelled_names_nouns": Share(times=1),
    "labelled_names_coreferences": Share(times=1),
    "labelled_names_dates": Share(times=1),
    "labelled_all": Share(times=1),
}
"""
Builds of the labelled texts by the kinds that they ask for (`--kinds`). They set the style, so they are a fifth of all
examples.
"""

TITLES = {
    "titles_names": Share(limit=22_000),
    "titles_persons_places_organizations": Share(limit=2_500),
    "titles_news": Share(times=2),
}
"""Builds of `linked-titles`; `titles_news` is the part of the news texts that nobody labelled."""

NAME_ONLY_SHARE = 0.3
"""Of the titles: these get no description, since nearly half of the labelled catalogue has none."""
