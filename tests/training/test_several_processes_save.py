"""Several processes: one of them writes, and a run that is killed in the middle of a save is resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.sample_corpus import build_tokenizer
from support.training_setup import dataset, trainer_for

from onegen_hf.modeling.auto import OneGenForCausalLM

NUMBERS = [0, 1, 2, 4, 5, 7, 3, 6]
SAVING: dict[str, Any] = dict(
    max_steps=4, per_device_train_batch_size=2, save_strategy="steps", save_steps=1, optim="adamw_torch",
    train_sampling_strategy="random", num_hard_negatives=1, eval_strategy="steps", eval_steps=2,
)  # fmt: skip


def trainer_of(directory: str, **changes: Any) -> Any:
    return trainer_for(build_tokenizer(), Path(directory), NUMBERS, eval_dataset=dataset(), **{**SAVING, **changes})


def train_and_tell_who_writes(rank: int, directory: str) -> dict[str, Any]:
    """The files that one process opens for writing, renames or deletes below the folder."""
    written: list[str] = []

    def listen(event: str, args: Any) -> None:
        target = str(args[0]) if args and isinstance(args[0], (str, Path)) else ""
        writes = event in ("os.rename", "os.remove") or (
            event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        )
        if writes and target.startswith(directory):
            written.append(target)

    trainer = trainer_of(directory)
    sys.addaudithook(listen)
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    written.sort()
    return {"files": written, "should_save": trainer.args.should_save}


def killed_while_it_saves(rank: int, directory: str) -> dict[str, Any]:
    """Process 0 dies while the optimizer of step 3 is written; the other is left waiting."""
    save = torch.save

    def save_or_die(value: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-3" in str(target):
            Path(target).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        save(value, target, *args, **kwargs)

    torch.save = save_or_die
    trainer_of(directory).train()
    return {}


def resumed(rank: int, directory: str) -> dict[str, Any]:
    trainer = trainer_of(directory)
    trainer.train(resume_from_checkpoint=True)
    return {"step": trainer.state.global_step}


def run(function: Any, directory: Path, target: Path, processes: int) -> list[Any]:
    from support.two_processes import run_together

    return run_together(function, directory, str(target), processes=processes)


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_one_process_writes_and_a_killed_run_goes_on(processes: int, tmp_path: Path) -> None:
    found = run(train_and_tell_who_writes, tmp_path / "whole-store", tmp_path / "whole", processes)
    assert [part["should_save"] for part in found] == [True] + [False] * (processes - 1)
    assert found[0]["files"]
    for rank, part in enumerate(found[1:], 1):
        # The state of its own random numbers, into a checkpoint that is there.
        assert [name for name in part["files"] if f"rng_state_{rank}.pth" not in name] == [], rank
    assert not list((tmp_path / "whole").rglob("*.tmp"))
    assert (tmp_path / "whole" / "README.md").is_file()

    with pytest.raises(Exception, match="SIGKILL|terminated"):
        run(killed_while_it_saves, tmp_path / "killed-store", tmp_path / "run", processes)
    assert (tmp_path / "run" / "checkpoint-3").is_dir()
    found = run(resumed, tmp_path / "resumed-store", tmp_path / "run", processes)
    assert [part["step"] for part in found] == [4] * processes
    expected, ours = (load_file(tmp_path / name / "checkpoint-4" / "model.safetensors") for name in ("whole", "run"))
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")
    OneGenForCausalLM.from_pretrained(tmp_path / "run" / "checkpoint-4")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_the_command_of_the_readme_saves_at_every_step(processes: int, tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from test_several_processes_save import trainer_of
        trainer = trainer_of(sys.argv[1])
        trainer.train()
        trainer.save_model()
    """)
    (tmp_path / "train.py").write_text(script)
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, (tests, tests.parent)), *sys.path])}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    for attempt in range(3):
        target = tmp_path / f"run-{attempt}"
        command = [*launcher, str(tmp_path / "train.py"), str(target)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        assert not list(target.rglob("*.tmp"))
        OneGenForCausalLM.from_pretrained(target)
