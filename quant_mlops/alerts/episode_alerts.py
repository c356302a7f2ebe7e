"""From the episodes of the rules to alerts, each with the evidence of its opening."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_mlops.alerts.continuity import continue_stored, stored_episodes
from quant_mlops.alerts.diagnostics import Diagnostics, Opening, diagnose
from quant_mlops.alerts.evidence import gather_evidence, missing_data_evidence
from quant_mlops.alerts.market_conditions import MarketReader
from quant_mlops.alerts.monitored_history import MonitoredHistory
from quant_mlops.alerts.onset import OnsetSettings, onset_evidence
from quant_mlops.alerts.outbox import NewAlert
from quant_mlops.alerts.rules_in_force import RuleInForce
from quant_mlops.database import Database
from quant_mlops.drift.episodes import Episode, find_episodes
from quant_mlops.drift.missing_data import MissingData, describe_missing
from quant_mlops.drift.rules import Rule
from quant_mlops.drift.watching import watch
from quant_mlops.market.calendar import TradingCalendar

NO_DATA = MissingData()


def episodes_of(history: MonitoredHistory, rules: Sequence[RuleInForce]) -> list[Episode]:
    """Return the episodes of the rules and of missing data, in the order in which they opened."""
    found = []
    for each in rules:
        begins = 0 if each.from_the_start else history.position(each.first_session)
        watched = watch(each.rule, history.metrics, restarts=history.restarts)
        found += find_episodes(each.rule, *watched, opens_from=begins)
    found += find_episodes(NO_DATA, history.no_data)
    return sorted(found, key=lambda episode: (episode.opened, episode.rule.name))


@dataclass(frozen=True)
class AlertWriter:
    """Makes alerts of the episodes of one strategy.

    Attributes
    ----------
    onset : OnsetSettings
    diagnostics : Diagnostics or None
        What to check when an alert opens; None checks nothing.
    evaluation_lag : timedelta
        After the close, when a session is judged: nothing known later is evidence.
    """

    database: Database
    calendar: TradingCalendar
    strategy_id: str
    onset: OnsetSettings
    diagnostics: Diagnostics | None
    evaluation_lag: timedelta

    def alerts(
        self,
        episodes: Sequence[Episode],
        history: MonitoredHistory,
        *,
        begins: Mapping[str, date],
    ) -> list[NewAlert]:
        """Return an alert for each episode, with evidence where it goes on with none stored yet.

        Parameters
        ----------
        begins : mapping of str to date
            See `continue_stored`.
        """
        alerts = [self._alert(episode, history) for episode in episodes]
        stored = stored_episodes(self.database, self.strategy_id)
        known = {each.dedupe_key for each in stored}
        new = [
            i
            for i, alert in enumerate(continue_stored(alerts, stored, begins=begins))
            if alert.dedupe_key not in known
        ]
        evidence = self._evidence([episodes[i] for i in new], history)
        for i, found in zip(new, evidence, strict=True):
            alerts[i] = replace(alerts[i], evidence=found)
        return alerts

    def _evidence(
        self, episodes: Sequence[Episode], history: MonitoredHistory
    ) -> list[dict[str, Any]]:
        """Return the evidence of each episode; what is checked is checked for all at once."""
        day: list[date] = history.sessions.tolist()
        diagnosed: list[dict[str, Any]] = [{} for _ in episodes]
        if self.diagnostics is not None:
            diagnosed = diagnose(
                self.database,
                self.calendar,
                self.diagnostics,
                [Opening(e.rule.action, day[e.began], day[e.opened]) for e in episodes],
                evaluation_lag=self.evaluation_lag,
            )
        tickers = None if self.diagnostics is None else self.diagnostics.tickers
        market = MarketReader(self.database, self.calendar, tickers)
        found = []
        for episode, checks in zip(episodes, diagnosed, strict=True):
            evidence = self._founded_on(episode, history, market)
            if checks:
                evidence["diagnostics"] = checks
            found.append(evidence)
        return found

    def _founded_on(
        self, episode: Episode, history: MonitoredHistory, market: MarketReader
    ) -> dict[str, Any]:
        rule, until = episode.rule, episode.opened + 1
        day: list[date] = history.sessions.tolist()
        as_of = self.calendar.close_time(day[episode.opened]) + self.evaluation_lag
        if isinstance(rule, MissingData):
            return missing_data_evidence(
                self.database,
                strategy_id=self.strategy_id,
                session=day[episode.opened],
                missing=history.missing[episode.opened],
                tickers=market.tickers,
                as_of=as_of,
            )
        values = watched_values(history, rule)
        evidence = gather_evidence(
            self.database,
            market,
            strategy_id=self.strategy_id,
            rule=rule,
            sessions=day[episode.began : until],
            values=values[episode.began : until].tolist(),
            without_value=[day[i] for i in episode.without_value],
            model_id=history.model_at(episode.opened),
            as_of=as_of,
        )
        evidence |= onset_evidence(
            self.database,
            strategy_id=self.strategy_id,
            rule=rule,
            sessions=history.sessions[:until],
            values=values[:until],
            model_ids=history.model_ids[:until],
            settings=self.onset,
        )
        if rule.mode != "as_written":
            evidence |= _mode_evidence(rule)
        return evidence

    def _alert(self, episode: Episode, history: MonitoredHistory) -> NewAlert:
        rule, day = episode.rule, history.sessions.tolist()
        return NewAlert(
            dedupe_key=f"{self.strategy_id}/{rule.name}/{day[episode.opened]}",
            strategy_id=self.strategy_id,
            rule=rule.name,
            severity=rule.severity,
            action=rule.action,
            message=_message(history, episode),
            opened_session=day[episode.opened],
            last_session=day[episode.last],
            closed_session=None if episode.closed is None else day[episode.closed],
            model_id=history.model_at(episode.opened),
        )


def watched_values(history: MonitoredHistory, rule: Rule) -> npt.NDArray[np.float64]:
    """Return what a rule judges, by session."""
    return watch(rule, history.metrics, restarts=history.restarts)[0]


def _mode_evidence(rule: Rule) -> dict[str, Any]:
    """Return where the limit of a rule comes from that is not the one written down."""
    found: dict[str, Any] = {"mode": rule.mode}
    if rule.calibration is not None:
        origin = asdict(rule.calibration)
        origin |= {end: origin[end].isoformat() for end in ("first", "last")}
        found["calibration"] = origin | {"cusum_reference": rule.cusum_reference}
    return found


def _message(history: MonitoredHistory, episode: Episode) -> str:
    rule, session = episode.rule, history.sessions[episode.opened]
    if isinstance(rule, MissingData):
        return describe_missing(history.missing[episode.opened], session)
    value = watched_values(history, rule)[episode.opened]
    return f"{rule.describe()}, {value:.4g} on {session}"
