"""
Draws `trace.svg`, what `onegen-hf ask` shows on a terminal, for the README:

```
python docs/images/draw_trace.py
```
"""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from transformers import pipeline

import onegen_hf  # noqa: F401  (registers the pipeline)
from onegen_hf.cli.trace import trace
from onegen_hf.files import write_text_atomically

QUESTION = "Where was the director of Titanic born?"
# Rich's own frame loads fonts from elsewhere, which pages that show the picture refuse.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>A question, two retrievals with their passages and scores, and the answer</title>
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
}}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#272822" />
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Draw the picture."""
    rag = pipeline("onegen-rag")
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print("$ onegen-hf ask", f'"{QUESTION}"', markup=False)
    console.print(trace(QUESTION, rag(QUESTION)))
    picture = console.export_svg(title="", theme=MONOKAI, code_format=FRAME, unique_id="trace")
    write_text_atomically(Path(__file__).with_name("trace.svg"), picture)


if __name__ == "__main__":
    main()
