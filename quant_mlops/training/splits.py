"""Chronological splits of sessions, purged by the label's horizon and with an embargo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_mlops.errors import TrainingError

Sessions = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class SplitSizes:
    """How many sessions validate and test; all before them train.

    Attributes
    ----------
    val_sessions, test_sessions : int
    embargo_sessions : int
        Left out after each purge, since features overlap as well as labels.
    """

    val_sessions: int
    test_sessions: int
    embargo_sessions: int = 0


@dataclass(frozen=True)
class Splits:
    """Sessions of decision by split; between two splits no label window reaches across."""

    train: Sessions
    val: Sessions
    test: Sessions

    def named(self) -> dict[str, Sessions]:
        """Return the splits by the names of their data sets."""
        return {"train": self.train, "val": self.val, "test": self.test}


def split_sessions(sessions: Sessions, sizes: SplitSizes, *, horizon: int) -> Splits:
    """Cut sorted sessions into train, val and test.

    Parameters
    ----------
    sessions : ndarray of datetime64[D], shape (S,)
        Distinct and ascending.
    sizes : SplitSizes
    horizon : int
        A label of session t is known at the close of t + horizon. That many sessions and the
        embargo are left out before each later split; with fewer, training would see prices of
        the split it is judged on.

    Raises
    ------
    TrainingError
        Too few sessions are left to train.
    """
    gap = horizon + sizes.embargo_sessions
    test_start = len(sessions) - sizes.test_sessions
    val_end = test_start - gap
    val_start = val_end - sizes.val_sessions
    train_end = val_start - gap
    if train_end < 1:
        needed = sizes.test_sessions + sizes.val_sessions + 2 * gap + 1
        raise TrainingError(
            f"{len(sessions)} sessions cannot be split: {sizes.val_sessions} to validate, "
            f"{sizes.test_sessions} to test and two gaps of {gap} need at least {needed}; give "
            f"more history or smaller splits"
        )
    return Splits(sessions[:train_end], sessions[val_start:val_end], sessions[test_start:])
