"""The parts of `benchmarks.on_gpu`: each yields results as it measures, so that a run may end at any time."""
