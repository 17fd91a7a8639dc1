"""`PrintableStreamer`: text on the terminal while it is generated."""

from __future__ import annotations

from typing import Any

from transformers import TextStreamer

from ..terminal.characters import printable_in_terminal


class PrintableStreamer(TextStreamer):
    """
    A `TextStreamer` that leaves out the prompt and the tokens that end a text, and prints nothing that could steer the
    terminal. Retrieval tokens and inserted passages are shown.

    Args:
        tokenizer (`PreTrainedTokenizerBase`)
    """

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, skip_prompt=True)
        self.hidden = {tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}

    def put(self, value: Any) -> None:
        """Take the ids of the prompt, or of the next tokens."""
        if self.next_tokens_are_prompt:
            super().put(value)
            return
        ids = [token for token in value.reshape(-1).tolist() if token not in self.hidden]
        if ids:
            super().put(value.new_tensor(ids))

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Print a piece of the text."""
        super().on_finalized_text(printable_in_terminal(text), stream_end=stream_end)
