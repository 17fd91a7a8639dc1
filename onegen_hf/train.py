"""`accelerate launch -m onegen_hf.train`: another name of [`onegen_hf.training.run`]."""

import sys

from .training.run import DataArguments, FormatArguments, load_for_training, main, parse, run

__all__ = ["DataArguments", "FormatArguments", "load_for_training", "main", "parse", "run"]

if __name__ == "__main__":
    from .cli.main import main as command

    command(["train", *sys.argv[1:]])
