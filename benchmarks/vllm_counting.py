"""In vLLM's worker: counts the positions that go through the model."""

from __future__ import annotations

from typing import Any


class Counting:
    """Mixed into the worker."""

    def onegen_begin(self) -> None:
        """From now on."""
        self.fed = 0
        embedding = self.model_runner.get_model().model.embed_tokens  # type: ignore[attr-defined]
        embedding.register_forward_hook(self._count)

    def _count(self, module: Any, args: Any, output: Any) -> None:
        self.fed += args[0].numel()

    def onegen_fed(self) -> int:
        """So far."""
        return self.fed
