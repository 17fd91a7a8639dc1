"""
The methods of transformers' Trainer that are overridden or relied on are those that were read when this was written.

`trainer_contract.json` holds a digest of the source of each, for every supported version. Where a test here fails, a
new transformers has changed the method: compare the new source with the last known one (guards such as
`args.should_save`, which processes call it, arguments, what it returns), mend the override, then add the digest.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import Trainer

from onegen_hf import OneGenTrainer

KNOWN: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("trainer_contract.json").read_text())
OVERRIDDEN = sorted(
    name for name, member in vars(OneGenTrainer).items() if inspect.isfunction(member) and hasattr(Trainer, name)
)
CALLERS = ["_save_checkpoint", "_maybe_log_save_evaluate", "_get_num_items_in_batch"]
"""Not overridden, but what they do before and after our methods is relied on."""


def digest_of(method: Any) -> str:
    """Of the source without white space, which a formatter may change."""
    source = "".join(inspect.getsource(method).split())
    return hashlib.blake2b(source.encode(), digest_size=8).hexdigest()


def test_every_overridden_method_is_listed() -> None:
    assert sorted(KNOWN) == sorted([*OVERRIDDEN, *CALLERS])


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_parents_method_is_a_known_one(name: str) -> None:
    digest = digest_of(getattr(Trainer, name))
    assert digest in KNOWN[name], (
        f"transformers {transformers.__version__} has changed Trainer.{name}: read what it does now beside "
        f"OneGenTrainer.{name} (guards, processes, arguments, result), then add {digest!r} to trainer_contract.json"
    )


@pytest.mark.parametrize("name", [name for name in OVERRIDDEN if name != "__init__"])
def test_the_signature_is_the_parents(name: str) -> None:
    def arguments(owner: Any) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(getattr(owner, name)).parameters.values()
        return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]

    assert arguments(OneGenTrainer) == arguments(Trainer)


def test_the_class_has_no_bases_but_the_trainer() -> None:
    assert OneGenTrainer.__bases__ == (Trainer,)


def test_evaluation_takes_its_arguments_by_position(base_tokenizer: Any, tmp_path: Path) -> None:
    from support.training_setup import dataset, trainer_for

    trainer = trainer_for(base_tokenizer, tmp_path, eval_dataset=dataset())
    output = trainer.evaluation_loop(trainer.get_eval_dataloader(), "Evaluation", True, None, "dev")
    assert "dev_loss_gen" in output.metrics and "dev_mrr" in output.metrics
