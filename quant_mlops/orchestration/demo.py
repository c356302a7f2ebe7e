"""The demonstration: the whole loop over recorded prices, replayed session by session in order.

It stands in for a person at one point, a review every half year: it has an open retraining
request answered, and resumes a strategy that its alerts have reduced or paused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from quant_mlops.alerts.retraining import open_request
from quant_mlops.alerts.states import current_state, resume
from quant_mlops.demonstration import how_to_start_over
from quant_mlops.errors import PromotionConflictError, SettingsError
from quant_mlops.market.price_checks import Defect
from quant_mlops.orchestration.assets.market import DEFECTS, FILE_SHA256, NOTES, QUARANTINE
from quant_mlops.orchestration.home_lock import hold_home
from quant_mlops.orchestration.instance import fail_abandoned_runs, open_instance, run_job
from quant_mlops.orchestration.jobs import TRAINING
from quant_mlops.orchestration.resources import Server
from quant_mlops.orchestration.strategy_set import strategy_definitions
from quant_mlops.reporting import StrategySummary, report_path, summarise
from quant_mlops.strategy_context import StrategyContext, evaluation_time
from quant_mlops.training.snapshot_parquet import file_digest

REVIEW_SESSIONS = 126
REVIEWER = "reviewer of the demonstration"
Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class PriceReport:
    """What the checks found in the price file, and where the rows concerned are kept."""

    defects: tuple[Defect, ...]
    notes: tuple[str, ...]
    quarantine: str


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration left behind, and the seconds of each of its stages."""

    summary: StrategySummary
    report: Path
    prices: PriceReport
    seconds: dict[str, float] = field(default_factory=dict)


class DemoRun:
    """One run of the demonstration for one strategy.

    Parameters
    ----------
    context : StrategyContext
    progress : callable
        Told the stage and a sentence about it, whenever there is something new to say.
    """

    def __init__(self, context: StrategyContext, *, progress: Progress) -> None:
        self.context = context
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.defs = dg.Definitions.merge(
            strategy_definitions(context.strategy), dg.Definitions(resources={"server": Server()})
        )

    def run(self) -> DemoResult:
        """Run every stage; what was done before is found again and not done twice."""
        strategy = self.context.strategy
        last = strategy.monitoring.last_session
        if last is None:
            raise SettingsError(
                f"strategy {strategy.name} has no monitoring.last_session, and a replay needs to "
                f"know where to end; set it, or use `quant-mlops dev` for a live strategy"
            )
        with hold_home(self.context.settings.home), open_instance() as instance:
            fail_abandoned_runs(instance)
            self.instance = instance
            self._refuse_other_prices()
            history = (strategy.first_partition, last)
            with self._stage("prices", "reading and checking the price file"):
                loaded = self._run("history", sessions=history, tables=("price_bars",))
            with self._stage("features", "computing and storing features of every session"):
                self._run("history", sessions=history, tables=("feature_events",))
            with self._stage("training", "snapshot, learners, first promotion"):
                self._train_first()
            for first, until in _reviews(self.context, strategy.monitoring.first_session, last):
                with self._stage("monitoring", f"sessions {first} to {until}"):
                    # The first partition holds no monitored session; with it none is missing.
                    begins = first == strategy.monitoring.first_session
                    start = strategy.first_partition if begins else first
                    self._run("monitoring", sessions=(start, until))
                self._review(until)
            with self._stage("report", "drawing the report"):
                self._run("report")
        summary = summarise(self.context)
        found = _price_report(loaded, strategy.name)
        return DemoResult(summary, report_path(self.context), found, self.seconds)

    def _refuse_other_prices(self) -> None:
        """Stop before anything is stored that the replay, once begun, could not take in."""
        strategy = self.context.strategy
        key = dg.AssetKey([strategy.name, "price_bars"])
        event = self.instance.get_latest_materialization_event(key)
        loaded = event.asset_materialization if event else None
        # A person may report a materialisation in Dagster's UI, which says nothing of a file.
        noted = loaded.metadata.get(FILE_SHA256) if loaded else None
        path = strategy.price_path
        if noted is None or path is None:
            return
        before, now = str(noted.value), file_digest(path)
        if now != before:
            raise SettingsError(
                f"{path.name} has changed since the demonstration loaded it (its SHA-256 began "
                f"with {before[:12]}, and does with {now[:12]} now), and what was decided on other "
                f"prices is not decided again; {how_to_start_over(self.context.settings)}"
            )

    def _train_first(self) -> None:
        strategy = self.context.strategy
        try:
            self._train(strategy.first_partition, request_id=0)
        except PromotionConflictError as error:
            raise PromotionConflictError(
                f"the first model of {strategy.name} is another than the one that was live: the "
                f"strategy, its features or its prices have changed since, and a replay does not "
                f"rewrite who was live; {how_to_start_over(self.context.settings)}"
            ) from error

    def _review(self, session: date) -> None:
        database, name = self.context.database, self.context.strategy.name
        request = open_request(database, name)
        # Started again, the replay may meet the request of a session that is still ahead of it.
        if request is not None and request.session <= session:
            with self._stage("retraining", f"{request.requested_by}, known at {session}"):
                self._train(session, request_id=request.request_id)
        at = evaluation_time(self.context, session)
        if current_state(database, name, at=at).status != "active":
            resume(
                database,
                strategy_id=name,
                by=REVIEWER,
                reason=f"reviewed after the session of {session}",
                effective_from=at,
            )

    def _train(self, session: date, *, request_id: int) -> None:
        as_of = evaluation_time(self.context, session).isoformat()
        ops = {
            f"{self.context.strategy.name}__{table}": {
                "config": {"as_of": as_of, "request_id": request_id}
            }
            for table in TRAINING
        }
        self._run("training", config={"ops": ops})

    def _run(
        self,
        job: str,
        *,
        sessions: tuple[date, date] | None = None,
        tables: tuple[str, ...] | None = None,
        config: dict[str, object] | None = None,
    ) -> dg.ExecuteInProcessResult:
        name = self.context.strategy.name
        return run_job(
            self.defs,
            self.instance,
            f"{name}_{job}",
            sessions=sessions,
            assets=[dg.AssetKey([name, table]) for table in tables] if tables else None,
            config=config,
        )

    @contextmanager
    def _stage(self, stage: str, what: str) -> Iterator[None]:
        self.progress(stage, what)
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent


def _price_report(result: dg.ExecuteInProcessResult, strategy: str) -> PriceReport:
    event = result.asset_materializations_for_node(f"{strategy}__price_bars")[0]
    shown: dict[str, Any] = dict(event.metadata)
    defects = tuple(Defect(**record.data) for record in shown[DEFECTS].records)
    return PriceReport(defects, tuple(shown[NOTES].value), str(shown[QUARANTINE].value))


def _reviews(context: StrategyContext, first: date, last: date) -> Iterator[tuple[date, date]]:
    """Yield the stretches of sessions between two reviews."""
    sessions = context.sessions(first, last)
    for start in range(0, len(sessions), REVIEW_SESSIONS):
        stretch = sessions[start : start + REVIEW_SESSIONS]
        yield stretch[0].item(), stretch[-1].item()
