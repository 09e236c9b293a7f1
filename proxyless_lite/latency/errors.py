"""How good a prediction is, and how good it can be: errors, and the noise of the measurements."""

import math

import numpy as np
from scipy.stats import kendalltau


def repeated(milliseconds, n):
    """Timings as an array (n, rounds). Raises ValueError naming the first that is not finite and positive."""
    times = np.asarray(milliseconds, dtype=float)
    times = times[:, None] if times.ndim == 1 else times
    if len(times) != n:
        raise ValueError(f"{n} items but {len(times)} timings given")
    if n == 0:
        raise ValueError("no timings given")
    empty = np.isnan(times).all(axis=1)
    bad = empty[:, None] | (times <= 0) | np.isinf(times)
    if bad.any():
        at, visit = np.argwhere(bad)[0]
        raise ValueError(f"timing {at} is {times[at, visit]} ms; it must be a finite number above 0")
    return times


def accuracy(predicted, repeats):
    """Predictions (n,) against measurements (n, rounds), in the order given. All in ms unless named otherwise.

    `noise` is the scatter of the median of the rounds, by `pooled_noise`; an RMSE below it means nothing. `autocorrelation` is
    that of neighbouring relative residuals: far from 0, drift is mistaken for model error.
    """
    times = np.nanmedian(repeats, axis=1)
    relative = predicted / times - 1
    rmse = math.sqrt(np.mean((predicted - times)**2))
    return {"networks": len(times), "mean": times.mean(), "rmse": rmse, "rmse/mean": rmse / times.mean(),
            "r2": 1 - rmse**2 / times.var() if len(times) > 1 else math.nan, "kendall tau": kendalltau(predicted, times).statistic,
            "within 5 %": np.mean(abs(relative) <= 0.05), "within 10 %": np.mean(abs(relative) <= 0.1),
            "noise": pooled_noise(repeats), "noise, split-half": split_half(repeats), "autocorrelation": autocorrelation(relative)}


def split_half(repeats, splits=20, seed=0):
    """Standard deviation in ms of the median over all rounds, from medians a, b of two halves: √(mean (a − b)² / 4).

    The mean over `splits` random halvings; NaN with fewer than 4 rounds. Where the number is odd one round is left out.
    """
    rounds = repeats.shape[1]
    if rounds < 4:
        return math.nan
    draw, half, squares = np.random.default_rng(seed), rounds // 2, []
    for _ in range(splits):
        order = draw.permutation(rounds)
        a, b = (np.nanmedian(repeats[:, part], axis=1) for part in (order[:half], order[half:2 * half]))
        squares.append(np.nanmean((a - b)**2) / 4)
    return math.sqrt(np.mean(squares) * 2 * half / rounds)


def pooled_noise(repeats, draws=20_000, seed=0):
    """Standard deviation in ms of the median over all rounds, from the scatter of single visits.

    Visits have long tails, which hit medians of half the rounds harder: `split_half` is 15 to 40 % too high for 5 to 12 rounds.
    Here medians of all rounds are simulated by visits drawn from all networks. Relative to a network's own median they scatter
    slightly too little, relative to the median of its other rounds slightly too much. In simulation the mean of the two was
    right to 5 %.
    """
    rounds = repeats.shape[1]
    if rounds < 4:
        return math.nan
    middle = np.nanmedian(repeats, axis=1, keepdims=True)
    others = np.stack([np.nanmedian(np.delete(repeats, k, axis=1), axis=1) for k in range(rounds)], axis=1)
    draw = np.random.default_rng(seed)
    of_medians = [np.median(draw.choice(scatter[np.isfinite(scatter)], (draws, rounds)), axis=1).std()
                  for scatter in (repeats / middle, repeats / others)]
    return np.mean(of_medians) * middle.mean()


def autocorrelation(values, lag=1):
    """Correlation of a series with itself `lag` steps later."""
    values = np.asarray(values)
    return np.corrcoef(values[:-lag], values[lag:])[0, 1] if len(values) > lag + 1 else math.nan
