"""Random texts of all kinds of characters: emoji, right-to-left scripts, tags inside the text, controls."""

from __future__ import annotations

import random

ALPHABETS = [
    "ab c.D-e' ",
    "Ada Moll \n\t  Ben",
    "\U0001f469\u200d\U0001f467 \U0001f600e\u0301x\u00e9 \ufe0f",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 a\u200f\u200e 1",
    "\u6771\u4eac\u90fd\u3067 \uac00\ub098 \u0e01\u0e32\u0e23 x",
    ["<MENTION>", "</MENTION>", "[LK]", "[CON]", "<|im_end|>", "a", " ", "[", "LK]", "<"],
    [chr(code) for code in (0, 1, 0xFFFD, 0xE000, 0x10FFFF, 0x2028, 0x85, 0xA0, 0x0301, 0x1F1E9)],
]


def random_text(generator: random.Random) -> str:
    alphabet = generator.choice(ALPHABETS)
    return "".join(generator.choice(alphabet) for _ in range(generator.randrange(0, 12)))
