"""Macro series with every revision and withdrawal, against pandas."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from quant_mlops.database import Database
from quant_mlops.features import FeatureStore, feature
from quant_mlops.features.access_path import AccessPath
from quant_mlops.features.catalog import register_definitions
from quant_mlops.features.spine import read_spine
from quant_mlops.features.table import point_in_time_table

INSTANT = pa.timestamp("us", tz="UTC")
QUESTIONS = 500
THOROUGH = 1_000
OUTPUT = "rtdsm/ROUTPUT"

pytestmark = pytest.mark.shared


@feature("observation", lookback=0, allows_missing=True)
def observation(panel):
    """Value of a published series; a withdrawn one is known to be missing."""
    return panel.close


@pytest.fixture(scope="module")
def vintages(data_folder: Path) -> pd.DataFrame:
    path = data_folder / "vintages.parquet"
    if not path.exists():
        pytest.skip(f"{path.name} is not in {data_folder}; set QUANT_MLOPS_TEST_DATA to its folder")
    frame = pd.read_parquet(path)
    frame["series"] = frame["source"].astype(str) + "/" + frame["series"].astype(str)
    if hypothesis.settings().max_examples < THOROUGH:
        # A third of the million rows goes through the same doors in a third of the time.
        kept = {*sorted(frame["series"].unique())[::3], OUTPUT}
        frame = frame[frame["series"].isin(kept)].reset_index(drop=True)
    assert len(frame) > 300_000
    for name in ("event_date", "known_date"):
        frame[name] = pd.to_datetime(frame[name]).dt.tz_localize("UTC").dt.as_unit("us")
    return frame


@pytest.fixture(scope="module")
def loaded(module_database: Database, vintages: pd.DataFrame) -> FeatureStore:
    """Give a store with the change log, loaded in random order."""
    register_definitions(module_database, [observation])
    store = FeatureStore(module_database, "publisher", timezone="UTC")
    shuffled = vintages.sample(frac=1.0, random_state=4)
    rows = pa.table(
        {
            "entity_key": pa.array(shuffled["series"].astype(str)),
            "feature_name": pa.repeat("observation", len(shuffled)),
            "event_time": pa.array(shuffled["event_date"]).cast(INSTANT),
            "ingest_time": pa.array(shuffled["known_date"]).cast(INSTANT),
            "value": pa.array(shuffled["value"].to_numpy()),
        }
    )
    result = store.write_frame(rows)
    assert result.offered == len(vintages)
    assert store.write_frame(rows.slice(0, 50_000)).stored == 0
    return store


def questions(vintages: pd.DataFrame) -> list[tuple[str, datetime]]:
    random = np.random.default_rng(8)
    series = vintages["series"].unique()
    days = pd.date_range("1999-01-01", "2025-12-31", tz="UTC")
    return [
        (str(random.choice(series)), days[random.integers(len(days))].to_pydatetime())
        for _ in range(QUESTIONS)
    ]


def test_every_access_path_gives_what_pandas_finds(
    loaded: FeatureStore, vintages: pd.DataFrame
) -> None:
    asked = questions(vintages)
    expected = []
    by_series = dict(iter(vintages.groupby("series", observed=True)))
    for series, moment in asked:
        rows = by_series[series]
        known = rows[(rows["known_date"] <= moment) & (rows["event_date"] <= moment)]
        newest = known.sort_values(["event_date", "known_date"]).tail(1)
        value = float(newest["value"].iloc[0]) if len(newest) else float("nan")
        expected.append(None if np.isnan(value) else value)
    assert sum(value is not None for value in expected) > 200
    frame = pa.table(
        {
            "entity_key": [series for series, _ in asked],
            "time": pa.array([moment for _, moment in asked], INSTANT),
        }
    )
    spine = read_spine(frame, zone=loaded.zone, max_age=None, calendar="XNYS")
    for path in (AccessPath(True), AccessPath(False), AccessPath(False, readers=2)):
        found = point_in_time_table(
            loaded.database,
            spine,
            {"observation": 1},
            knowledge_time=datetime.now(UTC),
            access_path=path,
        )
        assert found["observation"].to_pylist() == expected, path
    by_one = loaded.get_point_in_time(asked, ["observation"])
    answers = {(v.entity_key, v.as_of_time): v.value for v in by_one}
    assert [answers.get(question) for question in asked] == expected


@pytest.mark.parametrize(
    ("known", "growth"),
    [(date(2009, 2, 15), -3.80), (date(2009, 5, 15), -6.34), (date(2024, 1, 1), -8.47)],
)
def test_growth_of_the_last_quarter_of_2008_as_it_was_known(
    loaded: FeatureStore, known: date, growth: float
) -> None:
    moment = datetime.combine(known, time(), UTC)
    levels = []
    for quarter in (date(2008, 7, 1), date(2008, 10, 1)):
        event = datetime.combine(quarter, time(), UTC)
        prints = loaded.history(OUTPUT, "observation", event)
        levels.append([p.value for p in prints if p.ingest_time <= moment][-1])
    before, after = levels
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert round(100 * ((after / before) ** 4 - 1), 2) == growth
