"""`quant-mlops doctor`: whether this machine has what the package needs."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import version

import click

from quant_mlops.alerts.channels import SmtpChannel, WebhookChannel
from quant_mlops.cli.output import emit, json_option, print_table
from quant_mlops.cli.workspace import open_home
from quant_mlops.database import Database
from quant_mlops.database.migrations import read_migrations
from quant_mlops.database.queries import query
from quant_mlops.errors import DatabaseError, QuantMlopsError, StrategyError
from quant_mlops.settings import Settings, load_settings
from quant_mlops.storage_trial import try_folder
from quant_mlops.strategy_checks import check_strategy, shared_tickers
from quant_mlops.strategy_files import read_strategies

LEAST_FREE_BYTES = 5 << 30
NO_SCHEMA = "and its tables are not made yet; `quant-mlops db migrate` makes them"


class Doubt(Exception):
    """What may be meant as it is, so that nothing fails by it."""


@click.command(epilog="Example: quant-mlops doctor")
@json_option
def doctor(as_json: bool) -> None:
    """Check settings, disk, database, storage, channels, strategies and prices.

    A small object is written, read and removed where training sets and artifacts are kept. Alert
    channels are connected to, and nothing is sent. The database is looked at and left as it is:
    where its tables are not made yet, that is said.
    """
    settings = load_settings()
    checks: dict[str, Callable[[], str]] = {
        "python": platform.python_version,
        "dagster": lambda: version("dagster"),
        "home": lambda: str(settings.home),
        "disk": lambda: _disk(settings),
        "database": lambda: _database(settings),
        "snapshots": lambda: try_folder(settings.snapshots_folder),
        "artifacts": lambda: try_folder(settings.artifacts_folder),
        **_channels(settings),
        "strategies": lambda: _strategies(settings),
        "prices": lambda: _prices(settings),
    }
    results = []
    for name, check in checks.items():
        try:
            results.append((name, "ok", check()))
        except Doubt as doubt:
            results.append((name, "warning", str(doubt)))
        except (QuantMlopsError, OSError) as error:
            results.append((name, "failed", str(error)))
    document = {name: {"status": status, "detail": detail} for name, status, detail in results}
    emit(
        document, as_json=as_json, show=lambda: print_table(("check", "status", "detail"), results)
    )
    if any(status == "failed" for _, status, _ in results):
        raise click.exceptions.Exit(1)


def _disk(settings: Settings) -> str:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise OSError(f"{folder} cannot be written; give another --home")
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise OSError(f"{free >> 30} GiB are free at {folder}; the database wants 5 GiB or more")
    return f"{free >> 30} GiB free at {folder}"


def _strategies(settings: Settings) -> str:
    """Try every file, so that one run of the command tells all there is to mend."""
    found = read_strategies(settings)
    problems = [problem.message for problem in found.problems]
    for strategy in found.strategies.values():
        try:
            check_strategy(strategy)
        except StrategyError as error:
            problems.append(str(error))
    if problems:
        raise StrategyError("; ".join(dict.fromkeys(problems)))
    return ", ".join(found.strategies)


def _prices(settings: Settings) -> str:
    found = read_strategies(settings).strategies.values()
    doubts = shared_tickers(found)
    if doubts:
        raise Doubt("; ".join(doubts))
    return "no ticker is in the price files of two strategies"


def _database(settings: Settings) -> str:
    """Look at the server and change nothing there: it may be one that somebody else is making."""
    with open_home(settings, migrated=False) as access:
        row = access.database.fetch_one(query("select_server_version"))
        assert row is not None
        server, timescaledb, has_schema = row
        where = "embedded" if access.embedded else access.database.address
        note = access.embedded.placement.note if access.embedded else None
        schema = _schema(access.database) if has_schema else NO_SCHEMA
        text = f"PostgreSQL {server} ({where}), TimescaleDB {timescaledb or 'not used'}, {schema}"
        return f"{text}; {note}" if note else text


def _schema(database: Database) -> str:
    row = database.fetch_one("SELECT coalesce(max(number), 0) FROM schema_migrations")
    assert row is not None
    found, ours = row[0], len(read_migrations())
    if found > ours:
        raise DatabaseError(
            f"the schema at {database.address} is {found} and this package knows {ours}; install "
            f"the newer package here"
        )
    behind = "" if found == ours else f" of {ours}; `quant-mlops db migrate` brings it up to date"
    return f"schema {found}{behind}"


def _channels(settings: Settings) -> dict[str, Callable[[], str]]:
    """Return a check for each channel that is on, beside the log."""
    found: dict[str, Callable[[], str]] = {}
    url = settings.webhook_url
    if url is not None:
        found["webhook"] = lambda: WebhookChannel(url).probe()
    if settings.smtp.host:
        found["mail"] = lambda: SmtpChannel(settings.smtp).probe()
    return found
