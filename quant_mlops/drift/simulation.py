"""Years of a healthy or broken model, many at once: raw series drawn, metrics made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from quant_mlops.statistics.sharpe import SESSIONS_PER_YEAR

Floats = npt.NDArray[np.float64]

IC_WINDOW, SHARPE_SHORT, SHARPE_LONG = 20, 5, 60
# Of the broken features, once the window holds nothing from before: twice the severe threshold.
PSI_OF_BREAK = 0.5
# A window without spread has no Sharpe ratio; running sums leave a rest of rounding there.
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Draw:
    """Simulated raw series of shape (S, P), sessions by paths; NaN where a source has none."""

    ic: Floats
    net: Floats
    psi: Floats
    psi_no_drift_95: Floats


@dataclass(frozen=True)
class StatedLaw:
    """Normal ICs and returns; a PSI has no law without features, and is left out.

    Attributes
    ----------
    ic_mean, ic_sd, ic_autocorrelation : float
        Of the daily IC, the last of first order.
    sharpe : float
        True annual Sharpe ratio of independent returns.
    horizon, psi_window : int
        Sessions of the label, hence the lag of the IC's standard error, and of a PSI.
    """

    ic_mean: float = 0.05
    ic_sd: float = 0.10
    ic_autocorrelation: float = 0.0
    sharpe: float = 2.0
    horizon: int = 1
    psi_window: int = 60

    @property
    def net_mean(self) -> float:
        """Mean return in units of its standard deviation, to which no Sharpe ratio is sensitive."""
        return self.sharpe / math.sqrt(SESSIONS_PER_YEAR)

    def draw(self, sessions: int, paths: int, *, seed: Sequence[int]) -> Draw:
        """Return healthy series, the same for the same seed."""
        random = np.random.default_rng(seed)
        noise = random.standard_normal((sessions, paths))
        rho = self.ic_autocorrelation
        for t in range(1, sessions if rho else 0):
            noise[t] = rho * noise[t - 1] + math.sqrt(1.0 - rho * rho) * noise[t]
        net = self.net_mean + random.standard_normal((sessions, paths))
        nothing = np.full((sessions, paths), np.nan)
        return Draw(self.ic_mean + self.ic_sd * noise, net, nothing, nothing)


@dataclass(frozen=True)
class HealthyHistory:
    """What a live model did where it was healthy, resampled in blocks.

    Attributes
    ----------
    first, last : date
        Sessions of decision it is taken from.
    ic, net : ndarray of float64
        By session, finite.
    psi, psi_no_drift_95 : ndarray of float64
        By session, of equal shape; empty where there were too few sessions for a window.
    horizon, psi_window : int
        Sessions of the label, hence the lag of the IC's standard error, and of a PSI.
    """

    first: date
    last: date
    ic: Floats
    net: Floats
    psi: Floats
    psi_no_drift_95: Floats
    horizon: int
    psi_window: int

    @property
    def ic_mean(self) -> float:
        """Mean IC."""
        return float(self.ic.mean()) if len(self.ic) else math.nan

    @property
    def net_mean(self) -> float:
        """Mean return of a session."""
        return float(self.net.mean()) if len(self.net) else math.nan

    def draw(self, sessions: int, paths: int, *, seed: Sequence[int]) -> Draw:
        """Return healthy series, the same for the same seed.

        Each kind is resampled by itself: no rule looks at two. Blocks are twice as long as labels
        overlap and at least the cube root of the sample, and for the PSI as long as its window.
        """
        random = np.random.default_rng(seed)

        def places(sample: Floats, overlap: int) -> npt.NDArray[np.int64]:
            block = max(math.ceil(len(sample) ** (1 / 3)), overlap)
            return block_places(len(sample), (sessions, paths), block=block, random=random)

        nothing = np.full((sessions, paths), np.nan)
        ic = self.ic[places(self.ic, 2 * self.horizon)] if len(self.ic) else nothing
        net = self.net[places(self.net, 1)] if len(self.net) else nothing
        if not len(self.psi):
            return Draw(ic, net, nothing, nothing)
        at = places(self.psi, self.psi_window)
        return Draw(ic, net, self.psi[at], self.psi_no_drift_95[at])


Source = StatedLaw | HealthyHistory


def block_places(
    length: int, shape: tuple[int, int], *, block: float, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return positions of the stationary bootstrap, sessions by paths.

    Parameters
    ----------
    length : int
        Of the sample, which is closed into a circle.
    block : float
        Expected length of a block, at least 1. Too short, and dependence is torn apart.

    Notes
    -----
    Politis and Romano (1994), JASA 89(428), 1303-1313: at each session a new block begins with
    probability 1 / block at a place drawn evenly, else the neighbour follows.
    """
    sessions, _ = shape
    begins = random.random(shape) < 1.0 / block
    begins[0] = True
    starts = random.integers(0, length, shape)
    steps = np.arange(sessions)[:, None]
    begun = np.maximum.accumulate(np.where(begins, steps, 0), axis=0)
    return np.asarray((np.take_along_axis(starts, begun, axis=0) + steps - begun) % length)


def broken(source: Source, drawn: Draw, *, at: int) -> Draw:
    """Take away from a session on what made the model healthy.

    The IC and the return lose their healthy mean, so that the true values are 0. The PSI rises to
    `PSI_OF_BREAK` by the square of the share of its window that lies after the break, since a
    PSI is a squared distance to second order.
    """
    after = (np.arange(len(drawn.ic)) >= at)[:, None]
    share = np.clip((np.arange(len(drawn.ic)) - at + 1) / source.psi_window, 0.0, 1.0)[:, None]
    return Draw(
        drawn.ic - source.ic_mean * after,
        drawn.net - source.net_mean * after,
        drawn.psi + PSI_OF_BREAK * share**2,
        drawn.psi_no_drift_95,
    )


def metrics_of(drawn: Draw, *, horizon: int) -> Mapping[str, Floats]:
    """Return the metrics that rules and gates look at, as `drift.monitor` defines them."""
    month, month_error = rolling_mean_and_error(drawn.ic, window=IC_WINDOW, lag=horizon - 1)
    short, _ = rolling_sharpe_and_error(drawn.net, window=SHARPE_SHORT)
    long, long_error = rolling_sharpe_and_error(drawn.net, window=SHARPE_LONG)
    return {
        "ic": drawn.ic,
        "ic_20d_mean": month,
        "ic_20d_se": month_error,
        "psi": drawn.psi,
        "psi_no_drift_95": drawn.psi_no_drift_95,
        "sharpe_5d": short,
        "sharpe_60d": long,
        "sharpe_60d_se": long_error,
    }


def rolling_mean_and_error(series: Floats, *, window: int, lag: int) -> tuple[Floats, Floats]:
    """Return trailing means and Newey-West errors of each path, as `newey_west_standard_error`."""
    mean = _trailing(series, window) / window
    total = _trailing(series * series, window) - window * mean * mean
    for distance in range(1, min(lag, window - 1) + 1):
        product = np.zeros_like(series)
        product[distance:] = series[distance:] * series[:-distance]
        kept = window - distance
        newer = _trailing(series, kept)
        older = np.full_like(series, np.nan)
        older[distance:] = newer[:-distance]
        covariance = _trailing(product, kept) - mean * (newer + older) + kept * mean * mean
        total += 2.0 * (1.0 - distance / (lag + 1)) * covariance
    return mean, np.sqrt(np.maximum(total, 0.0)) / window


def rolling_sharpe_and_error(series: Floats, *, window: int) -> tuple[Floats, Floats]:
    """Return trailing annual Sharpe ratios and their errors, as `sharpe_standard_error`."""
    first, second, third, fourth = (_trailing(series**k, window) / window for k in (1, 2, 3, 4))
    variance = second - first**2
    variance = np.where(variance > LEAST_VARIANCE * second, variance, np.nan)
    sharpe = first / np.sqrt(variance * window / (window - 1))
    skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
    kurtosis = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    annual = math.sqrt(SESSIONS_PER_YEAR)
    return sharpe * annual, np.sqrt(np.maximum(spread, 0.0) / (window - 1)) * annual


def _trailing(series: Floats, window: int) -> Floats:
    """Return the sum of each run of `window` sessions at its last, NaN before the first is full."""
    sums = np.full_like(series, np.nan)
    running = np.cumsum(series, axis=0)
    sums[window - 1 :] = running[window - 1 :]
    sums[window:] -= running[:-window]
    return sums
