"""How often the interval of an onset holds the true date, measured on simulated changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quant_mlops.statistics.onset import DEFAULT_LEVEL, Onset, change_interval
from quant_mlops.statistics.population_stability import population_stability_index

Kind = Literal["independent", "overlapping", "heavy_tailed", "stability"]
Floats = NDArray[np.float64]

CASES = 500
SEED = 20_070_326
TAIL_DEGREES = 4
BINS = 10
# Tilts of the bins' shares among which the one with the wanted PSI is looked up.
_TILTS = np.linspace(0.0, 3.0, 1201)


@dataclass(frozen=True, slots=True)
class CoverageResult:
    """Simulated changes and how many of their intervals held the true position.

    Attributes
    ----------
    cases, held
        Changes simulated, and those whose interval held the position; a case without an interval
        was not held.
    share
        held / cases.
    median_length
        Sessions of the median interval, both ends counted; NaN when no case had one.

    """

    cases: int
    held: int
    share: float
    median_length: float


def coverage(
    kind: Kind,
    *,
    observations: int,
    before: float,
    after: float,
    deviation: float,
    position: int,
    lag: int = 0,
    level: float = DEFAULT_LEVEL,
    cases: int = CASES,
    seed: int = SEED,
) -> CoverageResult:
    """Measure on simulated changes how often `change_interval` holds the true position.

    Parameters
    ----------
    kind
        `independent`: normal values. `overlapping`: sums of `lag` + 1 normal values, as the labels
        of `lag` + 1 sessions. `heavy_tailed`: Student's t of 4 degrees. `stability`: a PSI of the
        last `lag` + 1 sessions, of counts in ten bins, see `simulate_change`.
    observations
        Values of each series.
    before, after
        Mean either side of the change.
    deviation
        Standard deviation about the mean, above 0; not used by `stability`, whose noise follows
        from `before`.
    position
        First value of the new mean, from 1 to `observations` - 1.
    lag, level
        As `change_interval` is given them.
    cases, seed
        The same seed gives the same result. With 500 cases the share has a standard error of 0.01.

    Raises
    ------
    ValueError
        A parameter is outside the range stated.

    """
    if cases < 1:
        raise ValueError(f"cases is {cases}; at least 1 simulated change expected.")
    series = simulate_change(
        kind, shape=(cases, observations), before=before, after=after, deviation=deviation,
        position=position, lag=lag, seed=seed,
    )  # fmt: skip
    found: list[Onset | None] = []
    for values in series:
        pooled = kind == "stability"
        sample = np.log(values) if pooled else values
        found.append(change_interval(sample, level=level, lag=lag, window=lag + 1 if pooled else 1))
    intervals = [onset for onset in found if onset is not None]
    held = sum(onset.first <= position <= onset.last for onset in intervals)
    lengths = [onset.last - onset.first + 1 for onset in intervals]
    length = float(np.median(lengths)) if lengths else math.nan
    return CoverageResult(cases, held, held / cases, length)


def simulate_change(
    kind: Kind,
    *,
    shape: tuple[int, int],
    before: float,
    after: float,
    deviation: float,
    position: int,
    lag: int = 0,
    seed: int = SEED,
) -> Floats:
    """Draw series whose mean changes once.

    Parameters
    ----------
    shape
        Series, and values of each.
    kind, before, after, deviation, position, lag, seed
        As in `coverage`. For `stability`, `before` is the PSI that sampling alone gives and sets
        the size of the pool, (10 - 1) / before values over the `lag` + 1 sessions, and the shares
        of the bins change at `position` by a tilt whose own PSI is `after` - `before`; the mean
        rises as the pool fills.

    Returns
    -------
    ndarray of float64 of the shape given

    """
    cases, observations = shape
    if not 0 < position < observations:
        raise ValueError(
            f"position is {position}; a change of {observations} values lies from 1 to "
            f"{observations - 1}."
        )
    if lag < 0:
        raise ValueError(f"lag is {lag}; it counts sessions back and cannot be negative.")
    rng = np.random.default_rng(seed)
    if kind == "stability":
        return _pooled_psi(rng, shape, before=before, after=after, position=position, lag=lag)
    if not deviation > 0.0:
        raise ValueError(f"deviation is {deviation}; a value above 0 expected.")
    if kind == "heavy_tailed":
        scale = math.sqrt(TAIL_DEGREES / (TAIL_DEGREES - 2))
        noise = rng.standard_t(TAIL_DEGREES, size=shape) / scale
    elif kind == "overlapping":
        sums = np.cumsum(rng.normal(size=(cases, observations + lag + 1)), axis=1)
        noise = (sums[:, lag + 1 :] - sums[:, : -(lag + 1)]) / math.sqrt(lag + 1)
    else:
        noise = rng.normal(size=shape)
    return np.where(np.arange(observations) < position, before, after) + deviation * noise


def _pooled_psi(
    rng: np.random.Generator, shape: tuple[int, int], *, before: float, after: float,
    position: int, lag: int,
) -> Floats:  # fmt: skip
    if not 0.0 < before < after:
        raise ValueError(f"PSI goes from {before} to {after}; a rise from above 0 expected.")
    cases, observations = shape
    even = np.full(BINS, 1.0 / BINS)
    tilted = np.exp(_TILTS[:, None] * np.linspace(-1.0, 1.0, BINS))
    tilted /= tilted.sum(axis=1, keepdims=True)
    psi = ((tilted - even) * np.log(tilted / even)).sum(axis=1)
    moved = tilted[min(int(np.searchsorted(psi, after - before)), len(_TILTS) - 1)]
    names = max(round((BINS - 1) / before / (lag + 1)), 1)
    counts = np.concatenate(
        [
            rng.multinomial(names, even, size=(cases, position + lag)),
            rng.multinomial(names, moved, size=(cases, observations - position)),
        ],
        axis=1,
    )
    running = np.cumsum(counts, axis=1)
    running = np.concatenate([np.zeros((cases, 1, BINS), dtype=running.dtype), running], axis=1)
    pooled = running[:, lag + 1 :] - running[:, : -(lag + 1)]
    expected = np.ones((1, BINS))
    found = population_stability_index(expected, pooled.reshape(-1, BINS))
    # Counts that match the reference exactly have no logarithm; this is less than any other PSI.
    smallest = 1.0 / (names * (lag + 1)) ** 2
    return np.maximum(np.asarray(found, dtype=np.float64), smallest).reshape(shape)
