"""
The user interface as a Space of the Hub: copy this folder into one.

```
pip install "onegen-hf[ui]"
python examples/space/app.py
```

Variables of the Space: `MODEL`, `INDEX` and `LINKER` name a checkpoint, an index and an entity linker; by default the
bundled ones answer.
"""

from __future__ import annotations

import os

from transformers import pipeline

import onegen_hf  # noqa: F401  (registers the pipelines)
from onegen_hf.ui import build_app, launch_options

QUESTIONS = (
    "Where was the director of Titanic born?",
    "What is the currency of the country in which the birthplace of Marie Curie lies?",
    "Which film came out first, Spirited Away or Titanic?",
)
TEXTS = (
    "James Cameron directed Titanic and Avatar. He was born in Kapuskasing.",
    "Toni Morrison wrote Beloved, and James Joyce wrote Ulysses in Paris.",
)
MODEL, INDEX, LINKER = (os.environ.get(name) or None for name in ("MODEL", "INDEX", "LINKER"))

app = build_app(
    pipeline("onegen-rag", model=MODEL, index=INDEX),
    lambda: pipeline("onegen-entity-linking", model=LINKER),
    questions=() if MODEL or INDEX else QUESTIONS,
    texts=() if LINKER else TEXTS,
).queue(max_size=20)

if __name__ == "__main__":
    app.launch(**launch_options())
