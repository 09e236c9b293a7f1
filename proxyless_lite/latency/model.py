"""The latency model of Appendix B: predict how long a network takes before it is built.

The latency of a network is the sum over its blocks of F(b) = m(b) · (1 + g(b)). m is physics: a sum of the block's work (MACs
by kind, elements read and written, layers) with non-negative coefficients. g is what physics misses, a Gaussian process over
shapes, so that similar blocks share what is learned. A sum of blocks is linear in g; so timings of whole networks, rows of a
table, or both together are one Bayesian linear regression.
"""

from itertools import product

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.model_selection import KFold

from ..architecture import Architecture
from ..spaces import Block
from .errors import accuracy, repeated
from .features import KINDS, SHAPE, WORK, features
from .table import Table

LENGTHS = (1.5, 2.0, 3.0)  # of the kernel, in standard deviations of each feature of the shape
STARTS = (0.3, 0.01)       # relative noise at which the fit starts: the evidence may have several maxima
EXPECTED = 0.2             # prior size of g: keeps few, noisy timings from looking certain
OWN = (0.0, 0.3)           # variance of a block's own part, relative to the part shared with similar shapes


class Model:
    """`fit`, then `predict`, `uncertainty`, `report`; `model[block]` like a Table, so it can be used in place of one.

    `features` gives the work (W,) and the shape (S,) of a Block; more kinds of work may follow those of latency.features.
    """

    def __init__(self, features=features):
        self.features = features

    def fit(self, items, milliseconds=None) -> "Model":
        """Learn from timings: `items` is a list of Architectures, of Blocks, or of both, or a latency.Table.

        `milliseconds` has shape (n,), or (n, rounds) for repeated measurements, NaN where there is none: the median
        counts, and `report` then knows the noise. Raises ValueError for values that are not finite and positive, and for
        too few items to separate the kinds of work.
        """
        self.items, milliseconds = rows_of(items) if milliseconds is None else (list(items), milliseconds)
        self.repeats = repeated(milliseconds, len(self.items))                          # (n, rounds)
        times = np.nanmedian(self.repeats, axis=1)                                      # t, (n,)
        rows = [blocks_of(item) for item in self.items]
        self.blocks = list(dict.fromkeys(block for row in rows for block in row))
        counts = count(rows, self.blocks)
        work, self.shape_features = self._arrays(self.blocks)
        self.coefficients = milliseconds_per_work(counts, work, times)
        self._fit_process(counts * self._physics(work), times)
        return self

    def _fit_process(self, share, times):
        """Learn g, with the hyperparameters of the highest evidence: t = Σ m(1 + g), `share` (n, B) being c · m(b)."""
        deviation, total, best = self.shape_features.std(0), share.sum(1), -np.inf
        self.scale = np.where(deviation > 0, deviation, 1.0)
        for length, own, start in product(LENGTHS, OWN, STARTS):
            kernel = self._kernel(self.shape_features, self.shape_features, length)
            lower = cholesky(kernel + (own + 1e-8) * np.eye(len(kernel)), lower=True)
            ridge = BayesianRidge(fit_intercept=False, compute_score=True, max_iter=1000, alpha_init=1 / start**2,
                                  lambda_1=1, lambda_2=EXPECTED**2)
            ridge.fit(share / total[:, None] @ lower, times / total - 1)                # g = L z, z ~ N(0, 1/λ)
            if ridge.scores_[-1] > best:                                                # evidence: log p(times)
                best, self.ridge, self.lower, self.length, self.own = ridge.scores_[-1], ridge, lower, length, own

    def predict(self, items):
        """Milliseconds of an Architecture or a Block, a float; of a list, an array (n,)."""
        if isinstance(items, (Architecture, Block)):
            return float(self.predict([items])[0])
        counts, physics, projected, _ = self._look_up(items)
        return counts @ (physics * (1 + projected.T @ self.ridge.coef_))

    def uncertainty(self, items):
        """Standard deviation in ms of what `predict` gives, in the same shape, without measurement noise."""
        if isinstance(items, (Architecture, Block)):
            return float(self.uncertainty([items])[0])
        counts, physics, projected, shape_features = self._look_up(items)
        prior = self._kernel(shape_features, shape_features, self.length) + self.own * np.eye(len(shape_features)) - projected.T @ projected
        covariance = prior / self.ridge.lambda_ + projected.T @ self.ridge.sigma_ @ projected
        share = counts * physics
        return np.sqrt(np.maximum(np.einsum("nb,bc,nc->n", share, covariance, share), 0))

    def __getitem__(self, block):
        return self.predict(block)

    def report(self, items=None, milliseconds=None) -> dict[str, float]:
        """How good the predictions are on items that the fit has not seen: a dict (see `accuracy`), with the mean
        `uncertainty` in ms.

        Without arguments: on the items of the fit, by five-fold cross-validation.
        """
        if items is not None:
            predictions, repeats, deviations = self.predict(items), repeated(milliseconds, len(items)), self.uncertainty(items)
        else:
            predictions, deviations, repeats = np.empty(len(self.items)), np.empty(len(self.items)), self.repeats
            for train, test in KFold(min(5, len(self.items)), shuffle=True, random_state=0).split(self.items):
                model, left_out = Model(self.features).fit([self.items[i] for i in train], self.repeats[train]), [self.items[i] for i in test]
                predictions[test], deviations[test] = model.predict(left_out), model.uncertainty(left_out)
        return {**accuracy(predictions, repeats), "uncertainty": deviations.mean()}

    def _arrays(self, blocks):
        """Work (B, W) and shape features (B, S) of blocks."""
        if not blocks:
            return np.empty((0, len(WORK))), np.empty((0, len(SHAPE) + len(KINDS)))
        work, shape_features = zip(*map(self.features, blocks))
        return np.stack(work), np.stack(shape_features)

    def _physics(self, work):
        smallest = self.coefficients[WORK.index("layers")] or 1e-4
        return np.maximum(work @ self.coefficients, smallest)                           # m(b), (B,)

    def _kernel(self, a, b, length):
        """exp(−½ d²) with d the distance of shapes in `length` standard deviations."""
        return np.exp(-0.5 * (((a[:, None] - b[None]) / self.scale / length)**2).sum(-1))

    def _look_up(self, items):
        rows = [blocks_of(item) for item in items]
        blocks = list(dict.fromkeys(b for row in rows for b in row))
        work, shape_features = self._arrays(blocks)
        known = {b: i for i, b in enumerate(self.blocks)}
        cross = self._kernel(self.shape_features, shape_features, self.length)                          # (B, new)
        for j, block in enumerate(blocks):
            if block in known:
                cross[known[block], j] += self.own
        return count(rows, blocks), self._physics(work), solve_triangular(self.lower, cross, lower=True), shape_features


def rows_of(table):
    """(blocks, milliseconds) of a latency.Table, without those that take no time. Raises ValueError for anything else."""
    if not isinstance(table, Table):
        raise ValueError(f"{type(table).__name__} given without timings; only a latency.Table brings its own")
    blocks = [block for block in table if table[block] > 0]
    return blocks, [table[block] for block in blocks]


def milliseconds_per_work(counts, work, times):
    """Milliseconds per unit of each kind of work, (W,), from counts (n, B), work (B, W) and times (n,), by relative errors.

    Raises ValueError for too few timings to separate the kinds.
    """
    unit = work.max(0) + (work.max(0) == 0)
    needed = 1 + np.linalg.matrix_rank(work / unit)
    if len(times) < needed:
        raise ValueError(f"{len(times)} timings given, but these blocks differ in {needed - 1} kinds of work; give at least {needed}")
    physics = LinearRegression(positive=True, fit_intercept=False)
    physics.fit(counts @ (work / unit) / times[:, None], np.ones(len(times)))
    return physics.coef_ / unit


def blocks_of(item):
    """The blocks of an Architecture, Zero left out, or a Block alone. Raises ValueError for an Architecture without a space."""
    blocks = [item] if isinstance(item, Block) else item._space("predict").blocks(item.choices)
    return [block for block in blocks if block.operation != "Zero"]


def count(rows, blocks):
    """How often each block is in each row, c (n, B)."""
    column, counts = {b: i for i, b in enumerate(blocks)}, np.zeros((len(rows), len(blocks)))
    for n, row in enumerate(rows):
        for block in row:
            counts[n, column[block]] += 1
    return counts
