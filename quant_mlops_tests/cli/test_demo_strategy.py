"""Which home and which strategy `demo` takes, before it runs anything."""

from __future__ import annotations

import os
import re
import shlex
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from quant_mlops.demonstration import (
    FEWEST_TICKERS,
    bundled_strategies,
    write_demonstration_strategy,
)
from quant_mlops.errors import StrategyError
from quant_mlops.market.calendar import TradingCalendar
from quant_mlops.settings import load_settings
from quant_mlops.strategy import read_strategy

MONITORED_OF_LONG = 252
TICKERS = ("AAA", "BBB", "CCC", "DDD", "EEE")


def write_prices(
    path: Path,
    calendar: TradingCalendar,
    sessions: int,
    *,
    volume: bool = False,
    tickers: int = FEWEST_TICKERS,
) -> Path:
    days = calendar.sessions(date(2015, 1, 2), date(2024, 12, 31))[:sessions]
    lines = ["date,ticker,close,volume" if volume else "date,ticker,close"]
    for n, day in enumerate(days):
        lines += [f"{day},{ticker},{50 + n % 7}{',9' * volume}" for ticker in TICKERS[:tickers]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_strategies_of_the_user_are_not_those_of_the_demonstration(
    empty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, price_file: Path
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_STRATEGIES", str(tmp_path / "mine"))
    # Both end where a storage for Dagster is needed, after strategy and home were chosen.
    empty.fails("demo")
    assert os.environ["QUANT_MLOPS_STRATEGIES"] == str(bundled_strategies())
    empty.fails("demo", "--prices", price_file)
    own = tmp_path / "home" / "strategies"
    assert os.environ["QUANT_MLOPS_STRATEGIES"] == str(own)
    assert [path.name for path in own.iterdir()] == ["demo_twelve.toml"]


def test_each_price_file_has_a_home_of_its_own_beside_the_embedded_server(
    shell: Any, tmp_path: Path
) -> None:
    file = tmp_path / "my prices.csv"
    file.write_text("")
    shell.fails("--home", tmp_path / "home", "demo", "--prices", file)
    assert os.environ["QUANT_MLOPS_HOME"] == str(tmp_path / "home" / "demos" / "my_prices")


def test_on_a_server_of_the_users_there_is_one_home(empty: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        f"QUANT_MLOPS_DATABASE_URL={os.environ.pop('QUANT_MLOPS_DATABASE_URL')}\n"
    )
    file = tmp_path / "prices.csv"
    file.write_text("")
    empty.fails("demo", "--prices", file)
    assert os.environ["QUANT_MLOPS_HOME"] == str(tmp_path / "home")


def test_any_path_is_one_that_the_strategy_finds_again(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    file = write_prices(tmp_path / 'we"ird \\ ünïcode' / "p.csv", calendar, 210)
    settings = load_settings(tmp_path)
    written = write_demonstration_strategy(settings, file, calendar="XNYS")
    strategy = read_strategy(settings.home / "strategies" / "demo_p.toml")
    assert strategy.name == written.name == "demo_p"
    assert Path(strategy.prices.file) == file


def test_a_short_history_is_refused_with_what_is_needed(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    file = write_prices(tmp_path / "p.csv", calendar, 199)
    with pytest.raises(StrategyError, match=r"p\.csv holds 199 sessions .* at least 200"):
        write_demonstration_strategy(load_settings(tmp_path), file, calendar="XNYS")
    assert not (tmp_path / ".quant_mlops").exists()


def test_too_few_tickers_to_rank_are_refused_with_what_is_needed(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    file = write_prices(tmp_path / "p.csv", calendar, 210, tickers=4)
    with pytest.raises(StrategyError, match=r"p\.csv holds 4 tickers .* at least 5"):
        write_demonstration_strategy(load_settings(tmp_path), file)
    assert not (tmp_path / ".quant_mlops").exists()


@pytest.mark.parametrize("sessions", [200, 320, 759, 760, 1500])
@pytest.mark.parametrize("volume", [False, True])
def test_windows_fit_the_history_and_features_its_columns(
    tmp_path: Path, calendar: TradingCalendar, sessions: int, volume: bool
) -> None:
    file = write_prices(tmp_path / "p.csv", calendar, sessions, volume=volume)
    settings = load_settings(tmp_path)
    strategy = read_strategy(write_demonstration_strategy(settings, file).path)
    days = calendar.sessions(date(2015, 1, 2), date(2024, 12, 31))[:sessions]
    monitored = MONITORED_OF_LONG if sessions >= 760 else sessions // 4
    assert strategy.monitoring.first_session == days[-monitored].item()
    assert strategy.monitoring.last_session == days[-1].item()
    names = strategy.features.names
    assert ("volume_ratio" in names) is volume
    assert ("momentum_12_1" in names) is (sessions >= 760)
    training = strategy.training
    held_out = training.val_sessions + training.test_sessions + 2 * training.embargo_sessions
    assert held_out < (sessions - monitored - (252 if sessions >= 760 else 21)) * 2 / 3


def test_a_long_file_name_gives_a_name_that_the_tables_take(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    file = write_prices(tmp_path / f"{'Ünï-long.name ' * 9}.csv", calendar, 200)
    settings = load_settings(tmp_path)
    written = write_demonstration_strategy(settings, file)
    assert read_strategy(written.path).name == written.name


def test_a_strategy_file_that_was_edited_is_kept_and_a_note_says_so(
    empty: Any, tmp_path: Path, calendar: TradingCalendar
) -> None:
    file = write_prices(tmp_path / "p.csv", calendar, 210)
    target = tmp_path / "home" / "strategies" / "demo_p.toml"
    # Each ends where a storage for Dagster is needed, after the strategy was chosen.
    for _ in range(2):
        found = empty("demo", "--prices", file)
        assert "DAGSTER_PG_URL is not set" in found.stderr
        assert str(target) not in found.stderr
    edited = target.read_text("utf-8").replace("seed = 7", "seed = 8").replace("demo_p", "mine")
    target.write_text(edited, "utf-8")
    found = empty("demo", "--prices", file, "--calendar", "XNYS")
    assert "DAGSTER_PG_URL is not set" in found.stderr
    assert f"note: {target} was kept as it is and differs" in found.stderr.splitlines()[0]
    assert target.read_text("utf-8") == edited


def test_a_kept_file_gives_name_and_calendar(tmp_path: Path, calendar: TradingCalendar) -> None:
    file = write_prices(tmp_path / "p.csv", calendar, 240)
    settings = load_settings(tmp_path)
    first = write_demonstration_strategy(settings, file, calendar="XNAS")
    again = write_demonstration_strategy(settings, file)
    assert again == first
    assert read_strategy(again.path).calendar == "XNAS"
    text = again.path.read_text("utf-8")
    again.path.write_text(text.replace('name = "demo_p"', 'name = "mine"'), "utf-8")
    kept = write_demonstration_strategy(settings, file)
    assert (kept.name, kept.edited) == ("mine", True)


def test_a_kept_file_may_fit_a_history_that_a_new_one_would_not(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    file = write_prices(tmp_path / "p.csv", calendar, 210)
    settings = load_settings(tmp_path)
    write_demonstration_strategy(settings, file)
    write_prices(file, calendar, 190)
    assert write_demonstration_strategy(settings, file).edited


def test_another_calendar_than_that_of_the_strategy_file_is_refused_before_any_work(
    empty: Any, tmp_path: Path, calendar: TradingCalendar
) -> None:
    file = write_prices(tmp_path / "p.csv", calendar, 210)
    empty.fails("demo", "--prices", file)
    target = tmp_path / "home" / "strategies" / "demo_p.toml"
    before = target.read_text("utf-8")
    # Were the prices read first, their being gone would be the complaint.
    file.unlink()
    sentence = empty.fails("demo", "--prices", file, "--calendar", "XLON")
    assert f"the calendar XLON was given, and strategy file {target} has XNYS" in sentence
    assert "QUANT_MLOPS_DATABASE_URL of an empty database" in sentence
    assert target.read_text("utf-8") == before


def test_a_price_file_of_the_same_name_elsewhere_does_not_run_on_the_first_ones_prices(
    tmp_path: Path, calendar: TradingCalendar
) -> None:
    settings = load_settings(tmp_path)
    first = write_prices(tmp_path / "a" / "p.csv", calendar, 210)
    target = write_demonstration_strategy(settings, first).path
    second = write_prices(tmp_path / "b" / "p.csv", calendar, 220)
    with pytest.raises(StrategyError) as caught:
        write_demonstration_strategy(settings, second)
    assert f"{target} is for the prices of {first}, not of {second}" in str(caught.value)
    anew = f"to start over, remove the folder {settings.home}, or give another --home"
    assert str(caught.value).endswith(anew)


def test_a_calendar_without_prices_is_wrong_usage(shell: Any) -> None:
    found = shell("demo", "--calendar", "XLON")
    assert found.status == 2
    assert "give --prices FILE as well" in found.stderr


@pytest.mark.parametrize("folder", ["plain", "with space's", "with\nbreak"])
def test_the_comment_names_the_home_that_the_file_belongs_to(
    tmp_path: Path, calendar: TradingCalendar, folder: str
) -> None:
    file = write_prices(tmp_path / "p.csv", calendar, 210)
    settings = load_settings(tmp_path, home=Path(folder))
    path = write_demonstration_strategy(settings, file).path
    assert read_strategy(path).name == "demo_p"
    (command,) = re.findall(r"^# +(quant-mlops .*)$", path.read_text("utf-8"), re.MULTILINE)
    home = "HOME" if "\n" in folder else str(tmp_path / folder)
    assert shlex.split(command) == ["quant-mlops", "--home", home, "dev"]
