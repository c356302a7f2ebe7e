"""The strategy that the demonstration runs: the bundled one, or one fitted to a price file."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from quant_mlops.errors import StrategyError
from quant_mlops.features.definition import definitions_in, select_definitions
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.market.price_files import PriceBatch, read_price_file
from quant_mlops.settings import Settings
from quant_mlops.strategy import Strategy, read_strategy
from quant_mlops.strategy_sections import PortfolioSettings

DEFAULT_CALENDAR = "XNYS"
FEWEST_SESSIONS = 200
# The least of a session that a coefficient or a position is made of, as no strategy file says.
FEWEST_TICKERS: int = PortfolioSettings().min_names
FULL_HISTORY = 760
MONITORED_SESSIONS = 252


@dataclass(frozen=True)
class DemonstrationStrategy:
    """The strategy file of a price file.

    Attributes
    ----------
    name : str
        The strategy's name, as the file says it.
    path : Path
    edited : bool
        The file was there already, and is not what would be written for these prices today.
    """

    name: str
    path: Path
    edited: bool = False


def bundled_strategies() -> Path:
    """Return the folder of the strategy for the bundled sample."""
    return Path(str(files("quant_mlops"))) / "strategies"


def write_demonstration_strategy(
    settings: Settings, prices: Path, *, calendar: str | None = None
) -> DemonstrationStrategy:
    """Write a strategy file for a price file into the home, or keep the one that is there.

    Monitoring covers the last year of sessions (a quarter of a shorter history); what lies before
    is split in time to train, validate and test.

    Parameters
    ----------
    settings : Settings
        The file goes to the folder `strategies` of their home.
    prices : Path
    calendar : str, optional
        Exchange of the prices; that of the file that is there, else XNYS, by default.

    Raises
    ------
    PriceFileError
        The file cannot be read as prices.
    StrategyError
        It holds too few tickers to rank, or too few sessions to train on some and monitor others,
        or the strategy file that is there is invalid, of another price file or of another exchange.
    """
    name = "demo_" + (re.sub(r"[^a-z0-9]+", "_", prices.stem.lower()).strip("_") or "prices")
    name = name[:60]
    target = settings.home / "strategies" / f"{name}.toml"
    if not target.exists():
        text = _strategy_text(settings, prices, name=name, calendar=calendar or DEFAULT_CALENDAR)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".tmp")
        temporary.write_text(text, "utf-8")
        temporary.replace(target)
        return DemonstrationStrategy(name, target)
    kept = read_strategy(target)
    _refuse_another(settings, kept, target, prices=prices, calendar=calendar)
    try:
        text = _strategy_text(settings, prices, name=name, calendar=kept.calendar)
    except StrategyError:
        # Too short for what is written here; whoever edited the file may have made it fit.
        text = ""
    return DemonstrationStrategy(kept.name, target, edited=text != target.read_text("utf-8"))


def how_to_start_over(settings: Settings) -> str:
    """Say how to run a demonstration anew; the strategy file alone is not what it is made of."""
    if settings.database_url is None:
        return f"to start over, remove the folder {settings.home}, or give another --home"
    return "to start over, give another --home, and QUANT_MLOPS_DATABASE_URL of an empty database"


def _refuse_another(
    settings: Settings, kept: Strategy, target: Path, *, prices: Path, calendar: str | None
) -> None:
    """Refuse to run a strategy file that is there on what it was not written for."""
    if calendar is not None and (
        trading_calendar(calendar).name != trading_calendar(kept.calendar).name
    ):
        raise StrategyError(
            f"the calendar {calendar} was given, and strategy file {target} has {kept.calendar}; "
            f"leave --calendar out, or, {how_to_start_over(settings)}"
        )
    if kept.price_path is None or kept.price_path.resolve() != prices.resolve():
        raise StrategyError(
            f"strategy file {target} is for the prices of {kept.prices.file}, not of "
            f"{prices.absolute()}; if the file has moved, correct prices.file there, or, "
            f"{how_to_start_over(settings)}"
        )


def _strategy_text(settings: Settings, prices: Path, *, name: str, calendar: str) -> str:
    batch = read_price_file(prices, calendar=trading_calendar(calendar))
    sessions = np.unique(batch.bars["session"].to_numpy())
    if len(sessions) < FEWEST_SESSIONS:
        raise StrategyError(
            f"{prices.name} holds {len(sessions)} sessions and the demonstration needs at least "
            f"{FEWEST_SESSIONS}, to train on some and monitor others; give a longer history"
        )
    if len(batch.tickers) < FEWEST_TICKERS:
        raise StrategyError(
            f"{prices.name} holds {len(batch.tickers)} tickers and the demonstration needs at "
            f"least {FEWEST_TICKERS}, to rank them by what they will earn; give more of them"
        )
    names = _features(batch, len(sessions))
    warm_up = 252 if "momentum_12_1" in names else 21
    enough = len(sessions) >= FULL_HISTORY
    monitored = MONITORED_SESSIONS if enough else len(sessions) // 4
    usable = len(sessions) - monitored - warm_up
    held_out = max(min(usable // 6, 252), 20)
    return _TEMPLATE.format(
        dev=_dev_command(settings.home),
        name=name,
        calendar=calendar,
        file=json.dumps(prices.absolute().as_posix(), ensure_ascii=False),
        features=", ".join(f'"{feature}"' for feature in names),
        window=len(sessions),
        val=held_out,
        test=held_out,
        first_session=_day(sessions[len(sessions) - monitored]),
        last_session=_day(sessions[-1]),
        cooldown=min(60, monitored // 4),
        gate=min(60, held_out),
    )


def _dev_command(home: Path) -> str:
    command = shlex.join(["quant-mlops", "--home", str(home), "dev"])
    # TOML has no comment that holds a line break or a byte that is no character.
    return command if command.isprintable() else "quant-mlops --home HOME dev"


def _features(batch: PriceBatch, sessions: int) -> list[str]:
    from quant_mlops.features import builtin

    available = definitions_in(builtin)
    has_volume = bool(pc.any(pc.is_valid(batch.bars["volume"])).as_py())
    chosen = []
    for definition in select_definitions(available, available):
        if "volume" in definition.fields and not has_volume:
            continue
        if sessions < FULL_HISTORY and definition.name == "momentum_12_1":
            continue
        chosen.append(definition.name)
    return chosen


def _day(session: np.datetime64) -> date:
    found: date = session.astype("datetime64[D]").item()
    return found


_TEMPLATE = """\
# Written by `quant-mlops demo --prices`, which keeps it as it is from now on; edit it and run
#     {dev}
# to go on from here.
name = "{name}"
description = "Ranks the tickers of the price file by the return expected over five sessions."
calendar = "{calendar}"
horizon = 5

[prices]
file = {file}

[features]
names = [{features}]

[training]
window_sessions = {window}
val_sessions = {val}
test_sessions = {test}
embargo_sessions = 5
seed = 7

[[training.learners]]
name = "xgboost"
params = {{ max_depth = 3, eta = 0.03, min_child_weight = 100, rounds = 300, patience = 30 }}

[[training.learners]]
name = "ridge"
params = {{ penalties = [0.01, 0.1, 1.0, 10.0] }}

[monitoring]
first_session = {first_session}
last_session = {last_session}
retrain_cooldown_sessions = {cooldown}

[gate]
min_sessions = {gate}
"""
