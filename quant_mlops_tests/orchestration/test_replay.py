"""The replay of the demonstration: its reviews, its lock, and what it needs to know."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import pytest

from quant_mlops.alerts.retraining import open_request, request_retrain
from quant_mlops.alerts.states import current_state, pause
from quant_mlops.database import Database
from quant_mlops.errors import PromotionConflictError, SettingsError
from quant_mlops.orchestration.assets.market import FILE_SHA256
from quant_mlops.orchestration.demo import REVIEW_SESSIONS, DemoRun, _reviews
from quant_mlops.orchestration.home_lock import hold_home
from quant_mlops.settings import load_settings
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext, evaluation_time


@pytest.fixture
def context(desk: Any, strategy: Strategy) -> Iterator[StrategyContext]:
    with Database(desk.conninfo) as database:
        yield StrategyContext(database, load_settings(), strategy)


class Recorder:
    """Takes the place of the training run, and remembers what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[tuple[date, int]] = []
        monkeypatch.setattr(DemoRun, "_train", self._train)

    def _train(self, session: date, *, request_id: int) -> None:
        self.trained.append((session, request_id))


def ask(context: StrategyContext, session: date) -> int:
    with context.database.transaction() as connection:
        return request_retrain(
            connection, strategy_id="small", session=session, alert_id=None,
            requested_by="ann", may_promote=True,
        ).request_id  # fmt: skip


def quiet(context: StrategyContext) -> DemoRun:
    return DemoRun(context, progress=lambda *_: None)


def test_a_review_answers_the_open_request(
    context: StrategyContext, sessions: list[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    request_id = ask(context, sessions[-25])
    quiet(context)._review(sessions[-20])
    assert recorder.trained == [(sessions[-20], request_id)]


def test_started_again_a_review_leaves_a_request_of_a_later_session_alone(
    context: StrategyContext, sessions: list[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    ask(context, sessions[-5])
    quiet(context)._review(sessions[-20])
    assert recorder.trained == []
    assert open_request(context.database, "small") is not None


def test_a_review_resumes_a_paused_strategy_and_leaves_an_active_one_alone(
    context: StrategyContext, sessions: list[date]
) -> None:
    at = evaluation_time(context, sessions[-21])
    with context.database.transaction() as connection:
        pause(
            connection, strategy_id="small", alert_id=None, effective_from=at,
            reason="feed", by="ann",
        )  # fmt: skip
    for _ in range(2):
        quiet(context)._review(sessions[-20])
    after = evaluation_time(context, sessions[-20])
    assert current_state(context.database, "small", at=after).status == "active"
    rows = context.database.fetch_all("SELECT status FROM strategy_states ORDER BY state_id")
    assert rows == [("paused",), ("active",)]


def test_reviews_cover_every_session_once(context: StrategyContext, sessions: list[date]) -> None:
    stretches = list(_reviews(context, sessions[0], sessions[-1]))
    covered = [day for first, until in stretches for day in context.sessions(first, until)]
    assert [day.item() for day in covered] == sessions
    assert len(stretches) == -(-len(sessions) // REVIEW_SESSIONS)


def test_a_strategy_without_an_end_cannot_be_replayed(context: StrategyContext) -> None:
    monitoring = context.strategy.monitoring.model_copy(update={"last_session": None})
    live = context.strategy.model_copy(update={"monitoring": monitoring})
    with pytest.raises(SettingsError, match=r"monitoring\.last_session"):
        quiet(StrategyContext(context.database, context.settings, live)).run()


def load_event(context: StrategyContext, desk: Any, digest: str | None) -> None:
    """Leave what a run of the strategy's prices notes of the file, or what a person reports."""
    desk.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            [context.strategy.name, "price_bars"],
            partition=str(context.strategy.first_partition),
            metadata={FILE_SHA256: digest} if digest else {},
        )
    )


def ended(context: StrategyContext) -> StrategyContext:
    last = context.strategy.monitoring.first_session
    monitoring = context.strategy.monitoring.model_copy(update={"last_session": last})
    strategy = context.strategy.model_copy(update={"monitoring": monitoring})
    return StrategyContext(context.database, context.settings, strategy)


def test_prices_that_changed_since_they_were_loaded_are_refused_before_anything_runs(
    context: StrategyContext, desk: Any
) -> None:
    path = context.strategy.price_path
    assert path is not None
    load_event(context, desk, "0" * 64)
    rows = context.database.fetch_all("SELECT count(*) FROM price_bars")
    with pytest.raises(SettingsError) as caught:
        quiet(ended(context)).run()
    now = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"began with 000000000000, and does with {now[:12]} now" in str(caught.value)
    assert "to start over, " in str(caught.value)
    assert desk.instance.get_runs() == []
    assert context.database.fetch_all("SELECT count(*) FROM price_bars") == rows


@pytest.mark.parametrize("reported", [False, True])
def test_prices_that_are_the_same_are_loaded_again(
    context: StrategyContext, desk: Any, monkeypatch: pytest.MonkeyPatch, reported: bool
) -> None:
    path = context.strategy.price_path
    assert path is not None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    load_event(context, desk, None if reported else digest)
    ran: list[str] = []

    def run(_: DemoRun, job: str, **__: object) -> None:
        ran.append(job)
        raise InterruptedError

    monkeypatch.setattr(DemoRun, "_run", run)
    with pytest.raises(InterruptedError):
        quiet(ended(context)).run()
    assert ran == ["history"]


def test_another_first_model_than_the_one_that_was_live_is_explained(
    context: StrategyContext, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise PromotionConflictError("would rewrite that")

    monkeypatch.setattr(DemoRun, "_run", run)
    with pytest.raises(PromotionConflictError, match="the first model of small is another") as no:
        quiet(context)._train_first()
    assert "to start over, " in str(no.value)


def test_one_home_holds_one_replay_at_a_time(desk: Any) -> None:
    lock = hold_home(desk.home)
    with hold_home(desk.home), pytest.raises(SettingsError, match="another demonstration"):
        lock.__enter__()
    with hold_home(desk.home):
        assert (desk.home / "demo.lock").is_file()
