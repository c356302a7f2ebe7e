"""Walk-forward folds: a model is fitted again and again, and judged each time on what came next."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from quant_mlops.errors import TrainingError
from quant_mlops.training.splits import Sessions, Splits, SplitSizes, split_sessions


@dataclass(frozen=True)
class WalkForwardSizes:
    """How often a model is fitted again, and on how many sessions.

    Attributes
    ----------
    val_sessions, test_sessions : int
        Of each fold. A model is as old as `test_sessions` at the end of its fold: with more than
        the strategy waits between two trainings, the stretch says what neglect would earn.
    folds : int
        Test windows, one behind the other up to the end of history.
    train_sessions : int or None
        Sessions that each fold trains on, the last ones before its gap; None trains on all of
        them, so that later folds have seen more.
    embargo_sessions : int
        Left out after each purge, as in `SplitSizes`.

    Raises
    ------
    TrainingError
        A size is below 1, or the embargo below 0.
    """

    val_sessions: int
    test_sessions: int
    folds: int
    train_sessions: int | None = None
    embargo_sessions: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name == "embargo_sessions" else 1
            if value is not None and value < least:
                raise TrainingError(
                    f"a walk-forward with {name} = {value} has no folds; give at least {least}"
                )

    @property
    def splits(self) -> SplitSizes:
        """Sizes of one fold."""
        return SplitSizes(self.val_sessions, self.test_sessions, self.embargo_sessions)


def walk_forward(
    sessions: Sessions, sizes: WalkForwardSizes, *, horizon: int
) -> tuple[Splits, ...]:
    """Cut sorted sessions into folds, each with train, val and test, in the order of time.

    The test windows tile the end of history: no session is tested twice, none between the first
    and the last is left out. A fold sees nothing after its own test window, and within it the
    purge and the embargo are those of `split_sessions`.

    Parameters
    ----------
    sessions : ndarray of datetime64[D], shape (S,)
        Distinct and ascending.
    sizes : WalkForwardSizes
    horizon : int
        A label of session t is known at the close of t + horizon; too small a one lets each fold
        train on prices of the window it is judged on.

    Returns
    -------
    tuple of Splits
        One a fold.

    Raises
    ------
    TrainingError
        Too few sessions are left for the first fold to train on.
    """
    gap = horizon + sizes.embargo_sessions
    least = sizes.train_sessions or 1
    tested = sizes.folds * sizes.test_sessions
    needed = least + gap + sizes.val_sessions + gap + tested
    if len(sessions) < needed:
        raise TrainingError(
            f"{len(sessions)} sessions cannot be walked through: {sizes.folds} folds of "
            f"{sizes.test_sessions} to test, {sizes.val_sessions} to validate, two gaps of {gap} "
            f"and {least} to train need at least {needed}; give more history or smaller folds"
        )
    folds = []
    for later in range(sizes.folds - 1, -1, -1):
        end = len(sessions) - later * sizes.test_sessions
        fold = split_sessions(sessions[:end], sizes.splits, horizon=horizon)
        train = fold.train if sizes.train_sessions is None else fold.train[-sizes.train_sessions :]
        folds.append(Splits(train, fold.val, fold.test))
    return tuple(folds)
