"""
Is a step of LoRA under DeepSpeed's ZeRO-3, over several GPUs, that of one process with the joined batch?

```
torchrun --nproc_per_node 2 -m benchmarks.gpu.zero3_lora --output-dir outputs/zero3_lora
```

It needs DeepSpeed and GPUs, since PEFT gathers the rows of tokens on CUDA devices. Everything is tiny and made up.
The step of one process is made afterwards, on the CPU, and the adapters are compared.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file

from benchmarks.gpu.models import joint_model, made_up_tokenizer
from onegen_hf import OneGenTrainer, OneGenTrainingArguments

TOLERANCE = 1e-4
ZERO3 = {
    "zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True},
    "zero_allow_untested_optimizer": True,
    **dict.fromkeys(
        ("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps", "gradient_clipping"),
        "auto",
    ),
}


def records(number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Examples, each with a passage of its own and that of the next one as a negative, and the passages."""
    documents = [{"id": f"d{n}", "title": f"w{n + 5}", "sentences": [f"w{n + 20} w{n + 40}"]} for n in range(number)]
    examples = [
        {
            "id": f"e{n}",
            "messages": [
                {"role": "user", "content": f"w{n + 60} w{n + 80}"},
                {"role": "assistant", "content": f"w{n + 100} [RQ] w{n + 120}"},
            ],
            "positives": [[f"d{n}"]], "negatives": [[f"d{(n + 1) % number}"]],
        }
        for n in range(number)
    ]  # fmt: skip
    return examples, documents


def train(folder: Path, batch: int, per_device: int, **settings: Any) -> Path:
    """One step of plain SGD; the adapter is saved."""
    words = made_up_tokenizer(400)
    words.chat_template = "{% for message in messages %}{{ message['content'] }} <eos> {% endfor %}"
    examples, documents = records(batch)
    args = OneGenTrainingArguments(
        str(folder), per_device_train_batch_size=per_device, max_steps=1, optim="sgd", learning_rate=0.1,
        lr_scheduler_type="constant", max_grad_norm=0.0, train_sampling_strategy="sequential", save_strategy="no",
        report_to=[], overwrite_output_dir=True, **settings,
    )  # fmt: skip
    torch.manual_seed(0)
    trainer = OneGenTrainer(
        joint_model("tiny", "cpu", torch.float32, words), args, Dataset.from_list(examples), documents=documents,
        processing_class=words, peft_config=LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    return folder / "adapter_model.safetensors"


def alone(folder: Path, batch: int) -> None:
    """The step of one process, in a process that knows of no others."""
    of_launcher = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {name: value for name, value in os.environ.items() if name not in of_launcher}
    command = [sys.executable, "-m", "benchmarks.gpu.zero3_lora", "--alone", str(batch), "--output-dir", str(folder)]
    subprocess.run(command, check=True, env=environment)


def main() -> None:
    """Train with all processes, then with one, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("outputs/zero3_lora"))
    parser.add_argument("--alone", type=int, metavar="BATCH", help="only the step of one process, on the CPU")
    options = parser.parse_args()
    file = options.output_dir / "alone" / "adapter_model.safetensors"
    if options.alone is not None:
        train(options.output_dir / "alone", options.alone, options.alone, use_cpu=True)
        print(f"a step of {options.alone} conversations by one process: {len(load_file(file))} tensors of an adapter")
        return
    if not torch.cuda.is_available():
        parser.error("there is no GPU here, which PEFT needs for the rows of tokens under ZeRO-3")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    together = train(options.output_dir / "together", 2 * processes, 2, deepspeed=ZERO3)
    if int(os.environ.get("RANK", "0")):
        return
    alone(options.output_dir, 2 * processes)
    found, expected = load_file(together), load_file(file)
    worst = max(float((found[name].cpu() - value).abs().max()) for name, value in expected.items())
    verdict = "equal" if found.keys() == expected.keys() and worst <= TOLERANCE else "NOT equal"
    print(f"{processes} processes and one differ by {worst:.1e} at most: {verdict}")


if __name__ == "__main__":
    main()
