"""`quant-mlops ingest`: prices and members of an index from files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from quant_mlops.cli.output import emit, json_option, print_pairs, print_table, say
from quant_mlops.cli.workspace import choose_strategy, open_workspace
from quant_mlops.errors import StrategyError
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.market.membership import write_memberships
from quant_mlops.market.membership_files import read_membership_file
from quant_mlops.market.price_bars import write_bars
from quant_mlops.market.price_checks import describe_defects
from quant_mlops.market.price_files import read_price_file
from quant_mlops.market.quarantine import write_quarantine
from quant_mlops.market.strategy_tickers import TickerListing
from quant_mlops.settings import Settings
from quant_mlops.strategy_files import read_strategies


@click.group(epilog="Example: quant-mlops ingest prices prices.csv")
def ingest() -> None:
    """Load data from files."""


@ingest.command(epilog="Example: quant-mlops ingest prices prices.csv --calendar XLON")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--calendar", default="XNYS", show_default=True, help="Exchange of the prices.")
@click.option(
    "--lag-minutes",
    type=click.IntRange(min=0),
    default=15,
    show_default=True,
    help="After the close, when a price is taken to be known if the file does not say.",
)
@click.option(
    "--strategy",
    "named",
    multiple=True,
    help="Strategy that is to trade its tickers, if its strategy file does not name the file.",
)
@json_option
def prices(
    file: Path, calendar: str, lag_minutes: int, named: tuple[str, ...], as_json: bool
) -> None:
    """Check a price file and store what is new of it, all or nothing.

    CSV or Parquet; long: date, ticker, close[, open, high, low, volume, adj_close, known_at], or
    wide: dates by tickers. Rejected and flagged rows go to a file in the reports folder. What is
    stored is traded by the strategies whose prices.file it is, or that are named.
    """
    batch = read_price_file(
        file,
        calendar=trading_calendar(calendar),
        availability_lag=timedelta(minutes=lag_minutes),
    )
    with open_workspace() as (settings, access):
        strategies = _trading(settings, file, named)
        listing = TickerListing(strategies, batch.tickers) if strategies else None
        written = write_bars(access.database, batch.bars, source=batch.source, listing=listing)
        quarantine = write_quarantine(batch, settings.reports_folder)
    defects = describe_defects(batch.summary)
    document = {
        "source": batch.source,
        "sha256": batch.sha256,
        "rows_read": batch.rows_read,
        "bars": written.offered,
        "stored": written.stored,
        "repeated": written.repeated,
        "strategies": strategies,
        "defects": defects,
        "notes": [*batch.notes, *written.warnings],
        "quarantine": quarantine,
    }

    def show() -> None:
        shown = document | {"strategies": ", ".join(strategies) or None}
        print_pairs([(k, v) for k, v in shown.items() if k not in ("defects", "notes")])
        if defects:
            print_table(
                ("defect", "rows", "outcome", "rule"),
                [(d.reason, d.rows, d.outcome, d.rule) for d in defects],
            )
        for note in batch.notes:
            say(f"note: {note}")

    for warning in written.warnings:
        say(f"warning: {warning}")
    emit(document, as_json=as_json, show=show)


def _trading(settings: Settings, file: Path, named: tuple[str, ...]) -> list[str]:
    """Return the strategies that a price file is for: those that name it, and those named."""
    for name in named:
        choose_strategy(settings, name)
    try:
        known = read_strategies(settings).strategies
    except StrategyError:
        # Prices may be there before any strategy is.
        return []
    return [
        name
        for name, strategy in known.items()
        if name in named
        or (strategy.price_path is not None and strategy.price_path.resolve() == file.resolve())
    ]


@ingest.command(epilog="Example: quant-mlops ingest universe sp500.csv --name sp500")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the index, as strategies give it.")
@click.option("--calendar", default="XNYS", show_default=True, help="Exchange of the index.")
@json_option
def universe(file: Path, name: str, calendar: str, as_json: bool) -> None:
    """Check a file of index members and store what is new of it, all or nothing.

    CSV or Parquet: ticker, start_date, end_date[, known_at]. The end is the last day of
    membership, and empty for a member of today. Without known_at a start counts as known from
    its day on, and an end from the day after it on.
    """
    found = read_membership_file(file, calendar=trading_calendar(calendar))
    with open_workspace() as (_, access):
        written = write_memberships(access.database, found.rows, universe=name, source=found.source)
    document = {
        "source": found.source,
        "sha256": found.sha256,
        "universe": name,
        "lines": found.lines,
        "spells": found.spells,
        "rows": written.offered,
        "stored": written.stored,
        "repeated": written.offered - written.stored,
        "notes": list(found.notes),
    }

    def show() -> None:
        print_pairs([(k, v) for k, v in document.items() if k != "notes"])
        for note in found.notes:
            say(f"note: {note}")

    emit(document, as_json=as_json, show=show)
