"""From a metric by session to episodes: when a rule's condition began, opened and closed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_mlops.drift.missing_data import MissingData
from quant_mlops.drift.rules import Rule

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Condition = Rule | MissingData


@dataclass(frozen=True)
class Episode:
    """One stretch during which a rule held; positions are indices of sessions.

    Attributes
    ----------
    rule : Rule or MissingData
    began : int
        First session of the condition.
    opened : int
        Session on which it had held for as many sessions as the rule asks.
    last : int
        Newest session on which the condition held.
    closed : int or None
        Session on which it had failed for long enough; None while open.
    without_value : tuple of int
        Sessions between beginning and opening that had no value: neither counted nor reset.
    """

    rule: Condition
    began: int
    opened: int
    last: int
    closed: int | None
    without_value: tuple[int, ...]


def find_episodes(
    rule: Condition, values: Floats, cleared: Flags | None = None, *, opens_from: int = 0
) -> list[Episode]:
    """Find the episodes of a rule in a metric by session.

    Parameters
    ----------
    rule : Rule or MissingData
    values : ndarray of float64, shape (S,)
        One value for each consecutive session, NaN where there is none.
    cleared : ndarray of bool, shape (S,), optional
        Sessions on which the condition may hold at all; see `drift.watching`.
    opens_from : int
        First session on which an episode may open. Sessions before it count for the condition,
        so that a rule which is put in force then is not blind until it has seen enough of them.

    Returns
    -------
    list of Episode
        In order. What follows a session never changes when an episode before it opened, so a run
        over a longer history finds the same episodes.
    """
    episodes: list[Episode] = []
    counted = 0
    began = -1
    skipped: list[int] = []
    current: Episode | None = None
    failing = 0
    cool_until = -1
    for position, value in enumerate(values):
        if np.isnan(value):
            skipped.append(position)
            continue
        met = rule.met(float(value)) and (cleared is None or bool(cleared[position]))
        if current is None:
            if not met:
                counted, skipped = 0, []
                continue
            if counted == 0:
                began, skipped = position, []
            counted += 1
            if counted >= rule.sessions and position >= opens_from and position > cool_until:
                current = Episode(rule, began, position, position, None, tuple(skipped))
                counted, failing = 0, 0
        elif met:
            current = _with(current, last=position)
            failing = 0
        else:
            failing += 1
            if failing >= rule.clear_after:
                episodes.append(_with(current, last=current.last, closed=position))
                current, skipped = None, []
                cool_until = position + rule.cooldown_sessions
    if current is not None:
        episodes.append(current)
    return episodes


def _with(episode: Episode, *, last: int, closed: int | None = None) -> Episode:
    return Episode(episode.rule, episode.began, episode.opened, last, closed, episode.without_value)
