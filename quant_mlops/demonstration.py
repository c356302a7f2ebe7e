"""The strategy that the demonstration runs: the bundled one, or one fitted to a price file."""

from __future__ import annotations

import json
import re
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

FEWEST_SESSIONS = 200
FULL_HISTORY = 760
MONITORED_SESSIONS = 252


def bundled_strategies() -> Path:
    """Return the folder of the strategy for the bundled sample."""
    return Path(str(files("quant_mlops"))) / "strategies"


def write_demonstration_strategy(settings: Settings, prices: Path, *, calendar: str) -> str:
    """Write a strategy file for a price file into the home, and return the strategy's name.

    Monitoring covers the last year of sessions (a quarter of a shorter history); what lies before
    is split in time to train, validate and test.

    Raises
    ------
    PriceFileError
        The file cannot be read as prices.
    StrategyError
        It holds too few sessions to train on some and monitor others.
    """
    batch = read_price_file(prices, calendar=trading_calendar(calendar))
    sessions = np.unique(batch.bars["session"].to_numpy())
    if len(sessions) < FEWEST_SESSIONS:
        raise StrategyError(
            f"{prices.name} holds {len(sessions)} sessions and the demonstration needs at least "
            f"{FEWEST_SESSIONS}, to train on some and monitor others; give a longer history"
        )
    names = _features(batch, len(sessions))
    warm_up = 252 if "momentum_12_1" in names else 21
    enough = len(sessions) >= FULL_HISTORY
    monitored = MONITORED_SESSIONS if enough else len(sessions) // 4
    usable = len(sessions) - monitored - warm_up
    held_out = max(min(usable // 6, 252), 20)
    name = "demo_" + (re.sub(r"[^a-z0-9]+", "_", prices.stem.lower()).strip("_") or "prices")
    target = settings.home / "strategies" / f"{name[:60]}.toml"
    text = _TEMPLATE.format(
        name=name[:60],
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
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(target)
    return name[:60]


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
# Written by `quant-mlops demo --prices`; edit it and run `quant-mlops dev` to go on from here.
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
