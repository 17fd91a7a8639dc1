"""`onegen-hf calibrate`: the score below which a model gives no answer, or the threshold of adaptive retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..configuration import write_setting
from ..terminal.options import OptionParser
from .calibrate_arguments import CalibrateArguments
from .evaluate import Inputs

if TYPE_CHECKING:
    from ..evaluation import AnswerCalibration, RetrievalCalibration


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        CalibrateArguments,
        "onegen-hf calibrate",
        description="Find the score below which a model gives no answer: ask each question with and without its gold "
        "passages in the index. With --retrieval-frequency, find the threshold of adaptive retrieval instead.",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    (options,) = parser().parse(arguments)
    checkpoint = options.checkpoint_to_change() if options.save else options.checkpoint()
    inputs = Inputs.read(options, options.dataset)
    find = _answer_threshold if options.retrieval_frequency is None else _retrieval_threshold
    calibration, setting, shown = find(options, inputs)
    print(calibration)
    if options.save:
        write_setting(checkpoint, setting, calibration.chosen.threshold)
        print(f"\n{setting}={shown} is in {Path(checkpoint) / 'config.json'}")
    else:
        print(f"\nUse it with --{setting.replace('_', '-')} {shown}, or write it into the checkpoint with --save")


def _answer_threshold(options: CalibrateArguments, inputs: Inputs) -> tuple[AnswerCalibration, str, str]:
    """The calibration, the setting that it is for, and its value in print."""
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
    return calibration, "answer_threshold", f"{calibration.chosen.threshold:.4f}"


def _retrieval_threshold(options: CalibrateArguments, inputs: Inputs) -> tuple[RetrievalCalibration, str, str]:
    """See [`_answer_threshold`]."""
    from ..evaluation import calibrate_retrieval

    assert options.retrieval_frequency is not None
    calibration = calibrate_retrieval(
        inputs.pipeline(),
        inputs.examples,
        options.retrieval_frequency,
        inputs.directory.path,
        max_new_tokens=options.max_new_tokens,
        batch_size=options.batch_size,
    )
    # Probabilities may be tiny and close to each other.
    return calibration, "retrieval_threshold", f"{calibration.chosen.threshold:.6g}"
