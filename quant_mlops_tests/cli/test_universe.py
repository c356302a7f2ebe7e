"""`ingest universe`, and a strategy that trades the members of an index alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from quant_mlops.database import Database

LINES = [
    "T00,2021-01-04,",
    "T01,2021-01-04,2021-03-31",
    "T01,2022-03-01,",
]
Trade = Callable[..., Any]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("ticker,start_date,end_date\n" + "\n".join(lines) + "\n")
    return path


def test_a_file_of_members_is_stored_once(empty: Any, database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "index.csv", LINES)
    document = empty("ingest", "universe", path, "--name", "index", "--json").document
    figures = ("universe", "lines", "spells", "rows", "stored", "repeated")
    assert [document[name] for name in figures] == ["index", 3, 3, 4, 4, 0]
    again = empty("ingest", "universe", path, "--name", "index", "--json").document
    assert (again["stored"], again["repeated"]) == (0, 4)
    assert database.fetch_all(
        "SELECT universe, source, count(*) FROM universe_memberships GROUP BY 1, 2"
    ) == [("index", "index.csv", 4)]
    shown = empty("ingest", "universe", path, "--name", "index")
    assert shown.status == 0
    assert "spells" in shown.stdout


def test_what_is_wrong_with_a_file_is_said_and_nothing_is_stored(
    empty: Any, database: Database, tmp_path: Path
) -> None:
    path = write(tmp_path / "index.csv", [*LINES, "T00,2021-06-01,"])
    assert "row 4" in empty.fails("ingest", "universe", path, "--name", "index")
    assert "no name" in empty.fails(
        "ingest", "universe", write(path, LINES), "--name", " ", "--json"
    )
    assert empty("ingest", "universe", path).status == 2
    assert database.fetch_all("SELECT 1 FROM universe_memberships") == []


@pytest.fixture
def trade(desk: Any, stock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trade:
    """Give a function that has the stocked strategy trade an index, and returns the shell."""

    def trade(section: str) -> Any:
        folder = tmp_path / "strategies"
        folder.mkdir()
        text = (stock.home / "strategies" / "small.toml").read_text()
        (folder / "small.toml").write_text(f"{text}\n[universe]\n{section}\n")
        monkeypatch.setenv("QUANT_MLOPS_STRATEGIES", str(folder))
        return desk

    return trade


def test_every_step_of_a_strategy_keeps_to_the_members(
    trade: Trade, tmp_path: Path, sessions: list[date]
) -> None:
    # Seven names, one of which leaves before the last session.
    lines = [f"T{n:02d},2021-01-04," for n in range(6)]
    lines.append(f"T06,2021-01-04,{sessions[-2]}")
    file = write(tmp_path / "index.csv", lines)
    shell = trade(f'name = "index"\nfile = "{file}"')
    assert shell("daily", "--json").document["predictions"] == 6
    last = sessions[-1].isoformat()
    with Database(os.environ["QUANT_MLOPS_DATABASE_URL"]) as database:
        counts = database.fetch_all(
            "SELECT sum(n) FROM feature_drift, unnest(day_counts) AS n WHERE session = %s "
            "GROUP BY feature_name",
            [last],
        )
        assert counts == [(6,)] * 3
        members = {
            ticker
            for (ticker,) in database.fetch_all(
                "SELECT entity_key FROM predictions WHERE session = %s", [last]
            )
        }
        assert members == {f"T{n:02d}" for n in range(6)}
    built = shell("snapshot", "build", "--json").document
    everyone = built["row_count"] + sum(built["left_out"].values())
    # Of the window's sessions with 12 names each, 7 are members until the last but one.
    assert built["left_out"]["not in the universe"] == pytest.approx(everyone * 5 / 12, abs=1)
    assert shell("features", "leakage", "--json").status == 0


@pytest.mark.parametrize(
    "command", [("daily",), ("snapshot", "build"), ("features", "leakage")], ids=" ".join
)
def test_an_index_of_which_nothing_is_stored_is_named(
    trade: Trade, command: tuple[str, ...]
) -> None:
    assert "a universe 'nowhere'" in trade('name = "nowhere"').fails(*command)


def test_the_doctor_misses_a_membership_file(trade: Trade, tmp_path: Path) -> None:
    missing = tmp_path / "none.csv"
    found = trade(f'name = "index"\nfile = "{missing}"')("doctor", "--json")
    assert found.status == 1
    assert f"universe.file {missing} is not there" in found.document["strategies"]["detail"]
