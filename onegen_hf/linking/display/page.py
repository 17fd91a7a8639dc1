"""Linked mentions as one HTML page that needs nothing else: no script, no font, no other file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ...terminal.characters import printable

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --faint: #5a6470; --line: #d0d7de;
  --linked: #d3f0dc; --nil: #fdeccb; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #9aa5b1; --line: #30363d;
  --linked: #17452a; --nil: #55400f; --card: #161b22; } }
body { margin: 2rem auto; max-width: 46rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 1.05rem/1.9 system-ui, sans-serif; }
h1 { font-size: 1.3rem; }
.summary { color: var(--faint); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; border-top: 1px solid var(--line); padding: 1rem 0; }
.mention { position: relative; outline-offset: 2px; }
mark { background: var(--linked); color: inherit; border-radius: .25rem; padding: .1rem .2rem; }
.nil mark { background: var(--nil); }
sub { color: var(--faint); font-size: .65rem; }
.card { display: none; position: absolute; z-index: 1; inset-inline-start: 0; top: 1.7rem; width: max-content;
  max-width: 22rem; padding: .4rem .7rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .4rem; box-shadow: 0 .3rem 1rem #0004; font-size: .85rem; line-height: 1.6; white-space: normal; }
.mention:hover .card, .mention:focus .card { display: block; }
.candidate { display: flex; gap: .6rem; align-items: center; }
.candidate:first-child { font-weight: 600; }
.candidate code { color: var(--faint); }
.candidate meter { width: 4rem; margin-inline-start: auto; }
""".strip()


def mention_page(
    results: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    title: str = "Linked mentions",
    link_token: str = "[LK]",
) -> str:
    """
    Show texts with their mentions marked. A mention's candidates and their scores come up when the pointer or the
    keyboard is on it. All that is shown is escaped.

    Args:
        results (`Sequence[tuple[str, Sequence[Mapping]]]`): Each text with its mentions, as
            `pipeline("onegen-entity-linking")` returns them.
        title (`str`, *optional*, defaults to `"Linked mentions"`)
        link_token (`str`, *optional*, defaults to `"[LK]"`): Shown where the model emitted it.

    Returns:
        `str`: HTML 5; write it as UTF-8.
    """
    mentions = [mention for _, own in results for mention in own]
    nil = sum(_is_nil(mention) for mention in mentions)
    texts = "\n".join(_text(number, text, own, link_token) for number, (text, own) in enumerate(results))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_safe(title)}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<main>
<h1>{_safe(title)}</h1>
<p class="summary">Texts: {len(results)}. Mentions: {len(mentions)}, without an entity: {nil}.</p>
{texts}
</main>
</body>
</html>
"""


def _text(number: int, text: str, mentions: Iterable[Mapping[str, Any]], link_token: str) -> str:
    pieces, position = [], 0
    for place, mention in enumerate(mentions):
        pieces += [_safe(text[position : mention["start"]]), _mention(f"m{number}-{place}", mention, link_token)]
        position = mention["end"]
    # The language of a text is not known, and its direction is its own.
    return f'<div class="text" lang="" dir="auto">{"".join(pieces)}{_safe(text[position:])}</div>'


def _mention(name: str, mention: Mapping[str, Any], link_token: str) -> str:
    marked = f"<mark>{_safe(mention['mention'])}</mark>"
    if "entity_id" not in mention:
        return f'<span class="mention">{marked}</span>'
    chosen = {key: mention[key] for key in ("entity_id", "name", "score")}
    others = [one for one in mention.get("candidates", ()) if one["entity_id"] != mention["entity_id"]]
    card = "".join(_candidate(one) for one in (chosen, *others))
    kind = "mention nil" if _is_nil(mention) else "mention"
    return (
        f'<span class="{kind}" tabindex="0" aria-describedby="{name}">{marked}<sub>{_safe(link_token)}</sub>'
        f'<span class="card" role="tooltip" id="{name}">{card}</span></span>'
    )


def _candidate(candidate: Mapping[str, Any]) -> str:
    score = float(candidate["score"])
    return (
        f'<span class="candidate"><bdi>{_safe(candidate["name"])}</bdi> <code>{_safe(candidate["entity_id"])}</code> '
        f'<meter min="0" max="1" value="{min(max(score, 0.0), 1.0):.3f}">{score:.3f}</meter> {score:.3f}</span>'
    )


def _is_nil(mention: Mapping[str, Any]) -> bool:
    return mention.get("entity_id") == "NIL"


def _safe(text: str) -> str:
    return escape(printable(text))
