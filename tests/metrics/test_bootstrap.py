"""Bootstrap intervals against the plain algorithm, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from onegen_hf.metrics import bootstrap
from onegen_hf.metrics.bootstrap import confidence_interval, mean_ratio_confidence_interval, ratio_confidence_interval


def plain_interval(columns: list[np.ndarray], level: float, seed: int, n_resamples: int) -> tuple[float, float]:
    """Resample row numbers one resample at a time, and take the quantiles of the ratio of sums."""
    generator, n = np.random.default_rng(seed), len(columns[0])
    rows = [generator.integers(0, n, n) for _ in range(n_resamples)]
    found = [columns[0][r].sum() / columns[1][r].sum() for r in rows]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_equals_the_plain_algorithm(level: float) -> None:
    generator = np.random.default_rng(1)
    scores, hops = generator.random(40), generator.integers(1, 4, 40).astype(float)
    assert confidence_interval(scores.tolist(), level, seed=3, n_resamples=500) == pytest.approx(
        plain_interval([scores, np.ones(40)], level, 3, 500)
    )
    assert ratio_confidence_interval(scores.tolist(), hops.tolist(), level, 3, 500) == pytest.approx(
        plain_interval([scores, hops], level, 3, 500)
    )


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    samples = (generator.random((200, 100)) < 0.7).astype(float)
    intervals = [confidence_interval(sample.tolist(), 0.9, n_resamples=300) for sample in samples]
    assert 0.83 < np.mean([low <= 0.7 <= high for low, high in intervals]) < 0.96


def test_seed_decides() -> None:
    scores = np.random.default_rng(0).random(30).tolist()
    assert confidence_interval(scores) == confidence_interval(np.array(scores)) == confidence_interval(scores, seed=0)
    assert confidence_interval(scores, seed=1) != confidence_interval(scores, seed=2)


def test_the_size_of_a_piece_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).random(50).tolist()
    whole = confidence_interval(scores, n_resamples=100)
    monkeypatch.setattr(bootstrap, "_CELLS_AT_A_TIME", 350)
    assert confidence_interval(scores, n_resamples=100) == whole


def test_edges() -> None:
    assert confidence_interval([0.25]) == (0.25, 0.25)
    assert confidence_interval([1.0] * 9) == (1.0, 1.0)
    assert confidence_interval([True, True]) == (1.0, 1.0)
    assert ratio_confidence_interval([0, 0], [0, 0]) == (0.0, 0.0)
    assert ratio_confidence_interval([1], [2]) == (0.5, 0.5)
    assert ratio_confidence_interval([0], [0]) == (0.0, 0.0)


def test_mean_of_ratios_draws_within_each_dataset() -> None:
    random = np.random.default_rng(1)
    tp, gold = random.integers(0, 3, 40).tolist(), [3] * 40
    one = ratio_confidence_interval(tp, gold)
    assert mean_ratio_confidence_interval([(tp, gold)]) == pytest.approx(one, abs=0.02)
    # A dataset whose ratio cannot vary halves the width and moves the middle.
    low, high = mean_ratio_confidence_interval([(tp, gold), ([1] * 5, [1] * 5)])
    assert (low, high) == pytest.approx(((one[0] + 1) / 2, (one[1] + 1) / 2), abs=0.02)
    assert mean_ratio_confidence_interval([([1], [2]), ([0], [1])]) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confidence_interval([]), "scores has the shape"),
        (lambda: confidence_interval([1.0, float("nan")]), "scores\\[1\\]=nan is not finite"),
        (lambda: confidence_interval([1.0, 0.0], level=95), "level=95"),
        (lambda: confidence_interval([1.0, 0.0], n_resamples=0), "n_resamples=0"),
        (lambda: ratio_confidence_interval([1], [1, 2]), "numerators has 1 values and denominators 2"),
        (lambda: ratio_confidence_interval([1, 1], [1, -2]), "negative value -2"),
        (lambda: mean_ratio_confidence_interval([]), "samples is empty"),
        (lambda: mean_ratio_confidence_interval([([1, 1], [1])]), "numerators has 2 values and denominators 1"),
        (lambda: mean_ratio_confidence_interval([([1], [1])], level=0), "level=0"),
    ],
)
def test_errors_name_the_argument(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
