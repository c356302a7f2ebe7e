"""What commands work in: settings, server and strategy of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import click

from quant_mlops.cli.output import say
from quant_mlops.database.access import ServerAccess, open_server
from quant_mlops.database.embedded import EmbeddedServer
from quant_mlops.errors import FeatureStoreError, MarketDataError, StrategyError
from quant_mlops.features.instants import as_utc
from quant_mlops.market.file_sessions import sessions_in_file
from quant_mlops.pipeline import price_file
from quant_mlops.settings import Settings, load_settings
from quant_mlops.strategy import Strategy
from quant_mlops.strategy_context import StrategyContext, end_of_prices, newest_session
from quant_mlops.strategy_files import read_strategies

# That of a FeatureStore that is not told another: one rule for a time, wherever it is given.
MARKET_ZONE = ZoneInfo("America/New_York")
# They are run to make a home; any other command that makes one was run in the wrong folder.
HOME_MAKERS = ("demo", "dev", "ingest", "db start", "db migrate")

# Two weeks in which a vendor may have sent nothing.
MOST_SESSIONS_WITHOUT_PRICES = 10

strategy_option = click.option(
    "--strategy", "strategy_name", help="Name of the strategy; needed only if there are several."
)


class Instant(click.ParamType[datetime]):
    """An ISO 8601 time; without a zone it is wall time in New York, and a date is its midnight."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 time such as 2022-06-30T20:00+00:00", param, ctx)
        try:
            return as_utc(moment, zone=MARKET_ZONE)
        except FeatureStoreError as error:
            self.fail(str(error), param, ctx)


class SessionOrInstant(Instant):
    """A date, which is a session, or an ISO 8601 time."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError):
            return super().convert(value, param, ctx)


@contextmanager
def open_workspace() -> Iterator[tuple[Settings, ServerAccess]]:
    """Open the server of the settings, saying where it is if it is not in the home."""
    settings = load_settings()
    with open_home(settings) as access:
        if access.embedded is not None and access.embedded.placement.note:
            say(f"note: {access.embedded.placement.note}")
        yield settings, access


@contextmanager
def open_home(settings: Settings, *, migrated: bool = True) -> Iterator[ServerAccess]:
    """Open the server of the settings, saying so where that made a home nobody asked for."""
    unasked = (
        settings.database_url is None
        and EmbeddedServer(settings.postgres_folder).is_new
        and not _makes_a_home(click.get_current_context().command_path)
    )
    with open_server(settings, migrated=migrated) as access:
        if unasked:
            say(f"note: there was no home at {settings.home}; a new, empty one was made")
        yield access


def _makes_a_home(command_path: str) -> bool:
    _, _, command = command_path.partition(" ")
    return any(command == maker or command.startswith(f"{maker} ") for maker in HOME_MAKERS)


@contextmanager
def open_strategy(name: str | None) -> Iterator[StrategyContext]:
    """Open the server and one strategy of the settings."""
    with open_workspace() as (settings, access):
        yield StrategyContext(access.database, settings, choose_strategy(settings, name))


def chosen_session(work: StrategyContext, given: datetime | None) -> date:
    """Return the session that was given, or the newest that can be judged.

    Raises
    ------
    NotASessionError
        The day given is no session of the exchange.
    MarketDataError
        It cannot be judged yet, or lies outside what the strategy monitors; or none was given, and
        prices end so long before the newest that nobody can mean it.
    """
    newest, last = newest_session(work), work.strategy.monitoring.last_session
    if last is not None:
        newest = min(newest, last)
    if given is None:
        _refuse_long_after_prices(work, newest)
        return newest
    day = given.date()
    work.calendar.positions([day])
    if not work.strategy.first_partition <= day <= newest:
        raise MarketDataError(
            f"{day} is not among the sessions that {work.strategy.name} can be judged on, from "
            f"{work.strategy.first_partition} to {newest}; give one of them"
        )
    return day


def _refuse_long_after_prices(work: StrategyContext, newest: date) -> None:
    """Refuse to take a session by default that is long after the last price there is.

    What it stored would count as judged, and every session until then as left out.
    """
    allowed = work.calendar.previous(newest, MOST_SESSIONS_WITHOUT_PRICES)
    ends = end_of_prices(work, ())
    if ends is None or ends < allowed:
        # The file is read only where it has to have what is not stored yet.
        with price_file(work.strategy) as path:
            ends = end_of_prices(work, sessions_in_file(path, work.calendar.name))
    if ends is not None and ends < allowed:
        late = work.calendar.sessions_between(ends, newest)
        raise MarketDataError(
            f"the newest session is {newest}, and prices of {work.strategy.name} end at {ends}, "
            f"{late:,} sessions before it; give a session, newer prices, or "
            f"monitoring.last_session in the strategy file"
        )


def chosen_strategies(settings: Settings, name: str | None) -> list[str]:
    """Return the name of the strategy that was asked for, or without one the names of all."""
    found = read_strategies(settings).strategies
    if name is None and len(found) > 1:
        return list(found)
    return [choose_strategy(settings, name).name]


def choose_strategy(settings: Settings, name: str | None) -> Strategy:
    """Return the strategy of that name, or the only one there is.

    Raises
    ------
    StrategyError
        There is none of that name, or no name was given and there are several; a file that is
        wrong counts, as it might have been meant.
    """
    found = read_strategies(settings)
    strategies = found.strategies
    if name in strategies:
        return strategies[name]
    if name is None and len(strategies) == 1 and not found.problems:
        return next(iter(strategies.values()))
    if found.problems and (name is not None or len(strategies) < 2):
        hint = f"; of the others, give --strategy {'|'.join(strategies)}" if strategies else ""
        raise StrategyError(f"{found.problems[0].message}{hint}")
    asked = "none was named" if name is None else f"{name!r} is none of them"
    raise StrategyError(
        f"there are the strategies {', '.join(strategies)} and {asked}; give --strategy NAME"
    )
