"""`onegen-hf calibrate`: below which score does a model give no answer?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..bundled.checkpoints import is_builtin
from ..configuration import write_setting
from ..terminal.options import OptionParser
from .calibrate_arguments import CalibrateArguments
from .evaluate import Inputs


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        CalibrateArguments,
        "onegen-hf calibrate",
        description="Find the score below which a model gives no answer: ask each question with and without its gold "
        "passages in the index.",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    (options,) = parser().parse(arguments)
    checkpoint = options.checkpoint()
    if options.save and (is_builtin(checkpoint) or not (Path(checkpoint) / "config.json").is_file()):
        raise ValueError(
            f"save writes into the checkpoint, but model={options.model!r} is no directory of yours: name one"
        )
    inputs = Inputs.read(options, options.dataset)
    from ..evaluation import calibrate_answers

    calibration = calibrate_answers(
        inputs.pipeline(),
        inputs.examples,
        inputs.directory.path,
        decline=options.decline,
        most_loss=options.most_loss,
        k=options.top_k,
        max_hops=options.max_hops,
        max_new_tokens=options.max_new_tokens,
        batch_size=options.batch_size,
        retrieval=options.retrieval,
        threshold=options.retrieval_threshold,
    )
    print(calibration)
    threshold = calibration.chosen.threshold
    if options.save:
        write_setting(checkpoint, "answer_threshold", threshold)
        print(f"\nanswer_threshold={threshold:.4f} is in {Path(checkpoint) / 'config.json'}")
    else:
        print(f"\nUse it with --answer-threshold {threshold:.4f}, or write it into the checkpoint with --save")
