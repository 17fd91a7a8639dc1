"""In vLLM's worker: counts the positions that go through the model."""

from __future__ import annotations

from typing import Any


class Counting:
    """Mixed into the worker. Both counts agree where the model is not compiled, which skips hooks."""

    model_runner: Any

    def onegen_begin(self) -> None:
        """From now on."""
        self.fed = self.embedded = 0
        execute = self.model_runner.execute_model

        def counted(scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
            self.fed += scheduler_output.total_num_scheduled_tokens
            return execute(scheduler_output, *args, **kwargs)

        self.model_runner.execute_model = counted
        self.model_runner.get_model().model.embed_tokens.register_forward_hook(self._embedded)

    def _embedded(self, module: Any, args: Any, output: Any) -> None:
        self.embedded += args[0].numel()

    def onegen_fed(self) -> int:
        """Positions that were scheduled so far."""
        return self.fed

    def onegen_embedded(self) -> int:
        """Positions that the embedding of the tokens has seen so far."""
        return self.embedded
