"""Last hidden states of transformers' own decoding loops, where `output_hidden_states` would keep every layer's."""

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
    Within, every forward of `model` leaves the last hidden state at each row's last column, of shape
    `(rows, hidden)`, in the list that is yielded.

    Args:
        model ([`OneGenForCausalLM`])
    """
    thread, states = threading.get_ident(), list[Tensor]()

    def keep(module: Any, args: Any, output: Any) -> None:
        # Another thread may be served by the same model.
        if threading.get_ident() == thread:
            states.append(output[0][:, -1].clone())

    handle = decoder_of(model).register_forward_hook(keep)
    try:
        yield states
    finally:
        handle.remove()
