"""Records the last hidden states of transformers' decoding loops; `output_hidden_states` would keep every layer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..modeling.mixin import decoder_of


@contextmanager
def recorded_states(model: Any) -> Iterator[list[Tensor]]:
    """
    Inside this context, every forward of `model` appends the last hidden state of each row's last column, of shape
    `(rows, hidden)`, to the yielded list.

    Args:
        model ([`OneGenForCausalLM`])
    """
    thread, states = threading.get_ident(), list[Tensor]()

    def keep(module: Any, args: Any, output: Any) -> None:
        # Other threads may use the same model.
        if threading.get_ident() == thread:
            states.append(output[0][:, -1].clone())

    handle = decoder_of(model).register_forward_hook(keep)
    try:
        yield states
    finally:
        handle.remove()
