"""Commands on a strategy that was run: one JSON document each, or a table for a person."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from quant_mlops.alerts.outbox import NewAlert, record_alerts
from quant_mlops.cli.workspace import MARKET_ZONE
from quant_mlops.database import Database
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.registry import ModelRegistry
from quant_mlops.wording import short_time

READING = [
    ["alerts", "list"],
    ["alerts", "list", "--open", "--severity", "critical"],
    ["db", "migrate"],
    ["db", "start"],
    ["db", "status"],
    ["db", "stop"],
    ["doctor"],
    ["drift", "rules", "--paths", "20"],
    ["drift", "show", "--last", "5"],
    ["features", "arrival"],
    ["features", "leakage", "--last", "5"],
    ["features", "parity", "--last", "3"],
    ["features", "revise"],
    ["features", "history", "T03", "ret_5d", "--last", "3"],
    ["features", "latest", "T03"],
    ["features", "latest", "NOBODY"],
    ["features", "list"],
    ["models", "best", "ic_mean"],
    ["models", "list"],
    ["models", "live"],
    ["models", "live", "--at", "2021-06-30"],
    ["models", "show", "small_ridge"],
    ["models", "verdicts"],
    ["report"],
    ["snapshot", "list"],
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_json_is_one_document_and_nothing_else(desk: Any, arguments: list[str]) -> None:
    found = desk(*arguments, "--json")
    assert found.status == 0, found.stderr
    assert found.document is not None
    assert found.stderr == ""


def test_without_json_a_person_gets_a_table_or_a_sentence(desk: Any) -> None:
    for arguments in READING:
        found = desk(*arguments)
        assert found.status == 0, (arguments, found.stderr)
        assert found.stdout or found.stderr, arguments
        assert "{" not in found.stdout.partition("params")[0], arguments


def test_each_rule_is_shown_in_each_mode_with_what_it_costs(desk: Any) -> None:
    asked = ("drift", "rules", "--paths", "20")
    found = desk(*asked, "--seed", "3", "--json").document
    assert found["mode_in_force"] == "as_written"
    assert "test split of the first live model" in found["source"]
    rates = found["rates"]
    assert [rate["mode"] for rate in rates] == ["as_written", "gated", "calibrated"] * 7
    assert [rate["rule"] for rate in rates[::3]] == [
        "ic_low", "ic_severe", "ic_negative", "psi_mild", "psi_severe", "sharpe_low",
        "sharpe_negative",
    ]  # fmt: skip
    for written, calibrated in zip(rates[::3], rates[2::3], strict=True):
        assert 0 <= calibrated["false_alarms_a_year"] < 2.5
        assert calibrated["calibration"]["last"] < "2022-02-17"
        assert written["calibration"] is None
    assert found == desk(*asked, "--seed", "3", "--json").document
    other = desk(*asked, "--seed", "4", "--json").document
    assert other["rates"] != rates
    # Another seed of the simulation is no other limit.
    assert [r["threshold"] for r in other["rates"]] == [r["threshold"] for r in rates]


def test_rules_fit_a_terminal_of_eighty_columns(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = desk("drift", "rules", "--paths", "5").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "IC < 0.02 for 5" in shown
    assert "±" in shown


def test_the_status_counts_the_tables(desk: Any, sessions: list[date]) -> None:
    document = desk("db", "status", "--json").document
    assert document["embedded"] is False
    assert {"price_bars", "feature_events", "drift_metrics"} <= set(document["tables"])
    assert document["tables"]["price_bars"]["bytes"] > 0
    bars = {"rows": (len(sessions) - 1) * 12, "estimated": False}
    assert document["tables"]["price_bars"].items() >= bars.items()
    assert f"{bars['rows']:,} rows" in desk("db", "status").stdout
    assert "about" not in desk("db", "status").stdout


def test_a_time_without_a_zone_is_that_of_the_store(desk: Any, sessions: list[date]) -> None:
    day = sessions[-20]
    close = trading_calendar("XNYS").close_time(day)
    known = (close + timedelta(minutes=15)).astimezone(ZoneInfo("America/New_York"))
    before, at = known - timedelta(seconds=1), known
    seen = []
    for moment in (before, at):
        naive = moment.replace(tzinfo=None).isoformat()
        asked = ("features", "latest", "T03", "ret_5d", "--as-of")
        found = desk(*asked, naive, "--json").document
        assert found == desk(*asked, moment.isoformat(), "--json").document
        seen.append(datetime.fromisoformat(found[0]["event_time"]))
    assert seen[0] < close == seen[1]


def test_a_date_is_its_midnight_in_new_york(desk: Any) -> None:
    built = desk("snapshot", "build", "--as-of", "2022-03-01", "--json").document
    assert datetime.fromisoformat(built["knowledge_time"]) == datetime(2022, 3, 1, 5, tzinfo=UTC)


def test_times_of_the_command_line_are_read_in_the_zone_of_a_feature_store() -> None:
    default = inspect.signature(FeatureStore).parameters["timezone"].default
    assert ZoneInfo(default) == MARKET_ZONE


def test_a_feature_is_shown_as_it_was_known_at_a_time(desk: Any, sessions: list[date]) -> None:
    day = sessions[-20].isoformat()
    before = desk("features", "latest", "T03", "ret_5d", "--as-of", f"{day}T12:00", "--json")
    after = desk("features", "latest", "T03", "ret_5d", "--as-of", f"{day}T23:00", "--json")
    times = [found.document[0]["event_time"][:10] for found in (before, after)]
    assert times == [sessions[-21].isoformat(), day]


def test_the_daily_run_takes_the_newest_session_and_repeats_itself(
    desk: Any, sessions: list[date]
) -> None:
    first = desk("daily", "--json").document
    assert first["session"] == sessions[-1].isoformat()
    assert (first["bars_stored"], first["feature_events_stored"]) == (12, 36)
    assert first["predictions"] == 12
    assert first["metrics"]["no_data"] is False
    again = desk("daily", "--session", sessions[-1], "--json").document
    # The outbox went to the log at the end of the first run.
    assert first["deliveries"]["delivered"] > 0
    assert again["deliveries"]["delivered"] == 0
    assert (again["bars_stored"], again["feature_events_stored"]) == (0, 0)
    assert again["new_alerts"] == []
    # The request of the sessions before; with so few models to compare nothing replaces the first.
    assert (first["retraining"]["candidate"], again["retraining"]) == ("small_ridge v2", None)
    assert first["retraining"]["status"] in ("rejected", "prepared")
    assert again["report"] == first["report"]
    report = first["report"]
    assert report["metrics"] == first["metrics"]
    assert report["decision"] == first["decision"]
    assert report["model"]["label"] == "small_ridge v1"
    assert [f["feature_name"] for f in report["features"]] == ["ret_5d", "reversal_1d", "vol_20d"]
    assert {f["sessions_old"] for f in report["features"]} == {0}
    stored = {alert["alert_id"] for alert in first["new_alerts"]}
    assert {alert["alert_id"] for alert in report["new_alerts"]} == stored


def test_names_that_are_left_out_for_lack_of_a_feature_are_counted(
    desk: Any, sessions: list[date]
) -> None:
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        FeatureStore(database).write_features(
            "T03", trading_calendar("XNYS").close_time(sessions[-2]), {"ret_5d": {"no": 1}},
            availability_lag=timedelta(minutes=20),
        )  # fmt: skip
    found = desk("daily", "--session", sessions[-1], "--json").document
    assert (found["predictions"], found["names_without_all_features"]) == (11, 1)
    lines = desk("daily", "--session", sessions[-1]).stdout.splitlines()
    assert "  left out 1 name of which a feature is not known, or too old" in lines


@pytest.fixture
def own_file(
    stock: Any, price_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Give a function that has the strategy read a price file of the test's own."""

    def own_file(text: str, **changes: str) -> Path:
        path = tmp_path / "own.csv"
        path.write_text(text)
        strategy = (stock.home / "strategies" / "small.toml").read_text("utf-8")
        for before, after in {str(price_file): str(path), **changes}.items():
            assert before in strategy
            strategy = strategy.replace(before, after)
        (tmp_path / "strategies").mkdir(exist_ok=True)
        (tmp_path / "strategies" / "small.toml").write_text(strategy)
        monkeypatch.setenv("QUANT_MLOPS_STRATEGIES", str(tmp_path / "strategies"))
        return path

    return own_file


def test_bars_that_a_run_leaves_out_are_told(
    desk: Any, own_file: Callable[..., Path], price_file: Path, sessions: list[date]
) -> None:
    lines = price_file.read_text().splitlines()
    for day, name in ((sessions[-3], "T05"), (sessions[-40], "T06")):
        place = next(i for i, line in enumerate(lines) if str(day) in line and name in line)
        lines[place] = lines[place].rpartition(",")[0] + ",99.5"
    late = [f"{sessions[-4]},T99,50.0", f"{sessions[-3]},T99,50.5"]
    own_file("\n".join([*lines, *late]) + "\n")
    found = desk("daily", "--session", sessions[-1], "--json").document
    assert found["bars_passed_over"] == [
        f"passed over 2 bars of earlier sessions in own.csv that are not stored, the first T99 of "
        f"{sessions[-4]}; run that session again to have what it holds",
        f"passed over 1 bar of earlier sessions in own.csv with other values than are stored, the "
        f"first T05 of {sessions[-3]}; a correction needs a known_at, the time since which it "
        f"could be known, and is loaded by `quant-mlops ingest prices`",
    ]
    assert found["bars_passed_over"][0] in desk("daily", "--session", sessions[-1]).stdout
    again = desk("daily", "--session", sessions[-4], "--json").document
    assert again["bars_stored"] == 1
    left = desk("daily", "--session", sessions[-1], "--json").document["bars_passed_over"]
    assert left[0].startswith("passed over 1 bar of earlier sessions in own.csv that is not stored")


def test_a_session_long_after_the_last_price_is_not_taken_by_default(
    desk: Any, own_file: Callable[..., Path], price_file: Path, sessions: list[date]
) -> None:
    own_file(price_file.read_text(), **{f"last_session = {sessions[-1]}": ""})
    before = desk("drift", "show", "--last", 500, "--json").document
    for command in (["daily"], ["drift", "run"]):
        said = desk.fails(*command)
        assert re.search(
            rf"newest session is 20\d\d-.*prices of small end at {sessions[-1]}, [\d,]+ sessions "
            rf"before it; give a session, newer prices, or monitoring.last_session",
            said,
        ), said
    assert desk("drift", "show", "--last", 500, "--json").document == before
    assert desk("daily", "--session", sessions[-1]).status == 0


def test_a_script_learns_by_the_exit_code_that_it_must_not_trade(
    beside_another: Any, sessions: list[date]
) -> None:
    for strategy, day, decision, status in (
        ("small", sessions[-40], "trade", 0),
        ("small", sessions[-1], "paused", 3),
        ("other", sessions[-1], "check data", 3),
    ):
        asked = ("daily", "--strategy", strategy, "--session", day, "--json")
        plain, coded = beside_another(*asked), beside_another(*asked, "--exit-code")
        assert plain.document["decision"] == coded.document["decision"] == decision
        assert (plain.status, coded.status) == (0, status)


def test_the_daily_run_tells_a_person_what_to_do_in_eighty_columns(
    desk: Any, sessions: list[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    report = desk("daily", "--json").document["report"]
    lines = desk("daily").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"small, session {sessions[-1]}, judged at ")
    assert lines[1] == f"DECISION: {report['decision'].upper()}"
    text = " ".join(" ".join(lines).split())
    parts = ("small_ridge v1, live since", "ret_5d 0 0.0%", "PSI of signals", "stored 0 bars")
    for part in (report["sentence"], *parts, *(a["message"] for a in report["rules_met"])):
        assert part in text


@pytest.mark.parametrize("command", [["daily"], ["drift", "run"]], ids=" ".join)
@pytest.mark.parametrize(
    ("session", "sentence"),
    [
        ("2022-02-21", "error: 2022-02-21, a Monday, is not a session of XNYS"),
        ("2021-02-01", "error: 2021-02-01 is not among the sessions that small can be judged on"),
        ("2022-04-18", "error: 2022-04-18 is not among the sessions"),
        ("2039-01-03", "error: 2039-01-03 is not covered by the calendar"),
    ],
)
def test_a_day_that_cannot_be_judged_is_refused_in_a_sentence(
    desk: Any, command: list[str], session: str, sentence: str
) -> None:
    before = desk("drift", "show", "--last", 500, "--json").document
    assert desk.fails(*command, "--session", session).startswith(sentence)
    assert desk("drift", "show", "--last", 500, "--json").document == before


def test_a_session_is_judged_again_with_the_same_verdict(desk: Any, sessions: list[date]) -> None:
    shown = desk("drift", "show", "--last", 1, "--json").document[0]
    judged = desk("drift", "run", "--session", sessions[-2], "--json").document
    assert judged["date"] == shown["date"] == sessions[-2].isoformat()
    shared = ("ic", "psi", "prediction_psi", "sharpe_20d")
    assert {key: judged[key] for key in shared} == {key: shown[key] for key in shared}
    assert shown["prediction_psi"] > 0


def test_metrics_are_shown_whole_in_eighty_columns(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    entries = desk("drift", "show", "--json").document
    lines = desk("drift", "show").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "signals" in lines[1]
    assert "no data" in lines[1]
    for entry in entries:
        (row,) = [line for line in lines if entry["date"] in line]
        for name in ("ic", "psi", "prediction_psi", "sharpe_5d"):
            assert entry[name] is None or f" {entry[name]:.3g} " in row


@pytest.mark.parametrize(
    ("entity", "hint"),
    [
        ("t03", "nothing was known of t03 at that time; near in spelling: T03, "),
        ("QQQQQ", "nothing was known of QQQQQ at that time; none of the 12 entities with values"),
        ("T03", "nothing was known of T03 at that time; `quant-mlops features history T03 "),
    ],
)
def test_an_entity_of_which_nothing_was_known_is_answered_with_those_near_it(
    desk: Any, entity: str, hint: str
) -> None:
    found = desk("features", "latest", entity, "--as-of", "1999-01-04")
    assert found.status == 0
    assert found.stderr.startswith(hint)
    assert found.stderr.count("T0") <= 4
    assert "features list" not in found.stderr


def test_without_a_time_the_snapshot_of_a_history_that_ended_is_that_of_its_last_price(
    desk: Any, sessions: list[date]
) -> None:
    built = desk("snapshot", "build", "--json").document
    # The last session's prices are not stored yet.
    close = trading_calendar("XNYS").close_time(sessions[-2])
    assert datetime.fromisoformat(built["knowledge_time"]) == close + timedelta(hours=4)


def test_a_promotion_names_who_and_why_and_a_rollback_undoes_it(desk: Any, stock: Any) -> None:
    review = ("--by", "ann", "--reason", "[review] done", "--json")
    (before,) = desk("models", "live", "--json").document
    same = desk("models", "promote", "small_ridge", 1, *review).document
    assert same["live_from"] == before["live_from"]
    sentence = desk.fails("models", "rollback", "--by", "ann", "--reason", "bad fills")
    assert "small" in sentence

    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        registry = ModelRegistry(database, artifacts=stock.home / "artifacts")
        first = registry.get_model("small_ridge")
        assert first is not None
        registry.register_model("small_ridge", "small", snapshot_id=first.snapshot_id)
    second = desk("models", "promote", "small_ridge", 2, *review).document
    assert (second["version"], second["promoted_by"]) == (2, "ann")
    assert "[review] done" in desk("models", "live").stdout
    back = desk("models", "rollback", "--by", "bob", "--reason", "bad fills", "--json").document
    assert (back["version"], back["promoted_by"], back["live_until"]) == (1, "bob", None)


def test_what_does_not_exist_is_named_with_where_to_look(desk: Any) -> None:
    nothing = "00000000-0000-0000-0000-000000000000"
    for arguments, hint in (
        (("models", "show", "nobody"), "quant-mlops models list"),
        (("models", "show", "small_ridge", 7), "small_ridge v7"),
        (("models", "best", "no_such_metric"), "no_such_metric"),
        (("models", "promote", "nobody", 1, "--by", "a", "--reason", "b"), "nobody"),
        (("snapshot", "show", nothing), "quant-mlops snapshot list"),
        (("snapshot", "verify", nothing), "quant-mlops snapshot list"),
        (("alerts", "ack", 987654, "--by", "ann"), "987654"),
        (("features", "history", "T03", "no_such_feature"), "no_such_feature"),
    ):
        assert hint in desk.fails(*arguments), arguments


def test_a_value_is_let_pass_and_the_prints_of_its_event_are_shown(
    desk: Any, sessions: list[date]
) -> None:
    about = trading_calendar("XNYS").close_time(sessions[-1]) - timedelta(minutes=1)
    said = ("--by", "ann", "--reason", "slow clock")
    asked = ("features", "review", "T03", "ret_5d", about.isoformat(), *said)
    assert "no value of ret_5d of T03 about" in desk.fails(*asked)
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        database.execute(
            "INSERT INTO feature_events (entity_key, feature_name, feature_version, event_time, "
            "ingest_time, value_double, producer) VALUES ('T03', 'ret_5d', 1, %s, %s, 0.25, 'x')",
            [about, about - timedelta(seconds=1)],
        )
    found = desk(*asked)
    assert found.status == 0
    assert "1 of them passed on the word of ann" in found.stderr
    early = (about - timedelta(seconds=1)).isoformat()
    assert early in found.stdout
    assert "0.25" in found.stdout


def test_an_alert_is_acknowledged_by_name(desk: Any) -> None:
    found = desk("alerts", "list", "--json").document
    assert found["alerts"], "the rules found nothing in random walks; change the seed"
    first = found["alerts"][0]["alert_id"]
    done = desk("alerts", "ack", first, "--by", "ann", "--json").document
    assert done["acknowledged_by"] == "ann"
    assert "ann" in desk("alerts", "list").stdout
    later = desk("alerts", "ack", first, "--by", "bob").stderr
    assert later.startswith(f"alert {first} was acknowledged by ann at ")
    assert later.endswith("; the first to have seen it is remembered\n")


def test_alerts_are_delivered_without_dagster_and_the_list_says_how(
    desk: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored = desk("alerts", "list", "--last", "99", "--json").document
    assert stored["deliveries"] == []
    assert "nobody yet" in desk("alerts", "list").stdout
    first = desk("alerts", "deliver", "--json")
    told = first.document["report"]
    assert (told["delivered"], told["failed"]) == (len(stored["alerts"]), 0)
    # Where the log goes depends on who set it up first in this process.
    assert stored["alerts"][0]["message"] in first.stderr + caplog.text
    assert desk("alerts", "deliver", "--json").document["report"]["delivered"] == 0
    listed = desk("alerts", "list", "--last", "99", "--json").document
    assert {d["alert_id"] for d in listed["deliveries"]} == {
        a["alert_id"] for a in stored["alerts"]
    }
    assert {(d["channel"], d["state"]) for d in listed["deliveries"]} == {("log", "delivered")}
    monkeypatch.setenv("COLUMNS", "80")
    table = desk("alerts", "list").stdout
    assert max(map(len, table.splitlines())) <= 80
    assert "undeliverable" not in table


def test_a_delivery_that_failed_is_a_status_and_one_that_waits_is_none(
    desk: Any, sessions: list[date], forget_alerts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MLOPS_WEBHOOK_URL", "http://127.0.0.1:1/nobody-listens")
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        forget_alerts(database)
        today = database.now().date()
        alerts = [
            NewAlert(
                dedupe_key=f"small/{rule}", strategy_id="small", rule=rule, severity="critical",
                action="alert", message="it is low", opened_session=today, last_session=today,
            )
            for rule in ("ic_low", "sharpe_low")
        ]  # fmt: skip
        with database.transaction() as connection:
            record_alerts(connection, alerts)
        failed = desk("alerts", "deliver")
        due = database.fetch_one("SELECT min(next_attempt_at) FROM alert_deliveries")
    assert failed.status == 1
    counts, waits = failed.stdout.splitlines()
    assert counts.startswith("2 delivered, 2 failed, 0 waiting")
    assert due is not None
    assert waits == f"for a later run: 2 in backoff, the first until {short_time(due[0])}"
    waiting = desk("alerts", "deliver")
    assert waiting.status == 0
    assert waiting.stdout.splitlines()[1] == waits
    day = desk("daily", "--session", sessions[-1])
    assert day.status == 0
    assert f"  {waits.partition(',')[0]}" in day.stdout


def test_an_alert_that_was_given_up_is_named_and_tried_again_on_demand(desk: Any) -> None:
    alert = desk("alerts", "list", "--json").document["alerts"][0]["alert_id"]
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        database.execute(
            "INSERT INTO alert_deliveries (alert_id, channel, attempt, delivered, detail) "
            "VALUES (%s, 'log', 30, false, 'down')",
            [alert],
        )
    table = desk("alerts", "list").stdout
    assert "log gave up" in table
    assert f"undeliverable: {alert}; `quant-mlops alerts deliver --again`" in table
    assert desk("alerts", "list", "--json").document["undeliverable"] == [alert]
    assert desk("alerts", "deliver", "--json").document["reopened"] == 0
    assert desk("alerts", "deliver", "--again", "--json").document["reopened"] == 1


def test_a_strategy_is_resumed(desk: Any) -> None:
    found = desk("alerts", "resume", "--by", "ann", "--reason", "feed repaired", "--json")
    if found.status == 0:
        assert found.document["status"] == "active"
    else:
        assert "active" in found.stderr
    assert desk("alerts", "list", "--json").document["state"]["status"] == "active"


def test_the_report_command_prints_the_path_of_the_report(desk: Any) -> None:
    path = desk("report").stdout.strip()
    assert Path(path).is_file()
    assert desk("report", "--json").document == {"report": path}


def test_backfill_of_what_is_stored_stores_nothing(desk: Any, sessions: list[date]) -> None:
    found = desk("features", "backfill", "--first", sessions[-9], "--last", sessions[-2], "--json")
    assert [row["stored"] for row in found.document] == [0, 0, 0]
    assert all(row["offered"] > 0 for row in found.document)


def test_an_unknown_strategy_is_answered_with_those_there_are(desk: Any) -> None:
    for arguments in (("daily",), ("report",), ("drift", "show"), ("models", "list")):
        sentence = desk.fails(*arguments, "--strategy", "nobody")
        assert "there are the strategies small" in sentence
        assert "'nobody' is none of them" in sentence


def test_brackets_of_a_text_are_shown_as_they_stand(desk: Any) -> None:
    output = desk("models", "show", "small_ridge").stdout
    assert "[0.1, 1.0]" in output


def test_times_are_iso_with_a_zone_in_json(desk: Any) -> None:
    (model,) = desk("models", "list", "--json").document
    created = datetime.fromisoformat(model["model"]["created_at"])
    assert created.tzinfo is not None
