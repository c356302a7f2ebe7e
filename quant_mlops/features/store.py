"""The feature store: bitemporal writes, and reads that return only what was known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.features.age_limit import oldest_events
from quant_mlops.features.availability import Lag, available_times
from quant_mlops.features.catalog import missing_allowed, require_registered, resolve_versions
from quant_mlops.features.instants import INSTANT, as_utc
from quant_mlops.features.rows import (
    SCHEMA,
    WriteResult,
    arrow_table,
    frame_to_rows,
    settle_missing,
)
from quant_mlops.features.spine import read_spine
from quant_mlops.features.table import point_in_time_table
from quant_mlops.features.values import FeatureValue, value_columns
from quant_mlops.features.vintage import Vintage
from quant_mlops.features.writing import write_rows
from quant_mlops.instants import from_microseconds, to_microseconds

INGEST = "ingest_time"


class FeatureStore:
    """Feature values with two times each, and point-in-time reads over them.

    Parameters
    ----------
    conninfo : str or Database
        libpq string or URL, or an open database.
    producer, producer_version : str
        Who writes, kept with each row.
    timezone : str
        Zone in which naive datetimes are wall time. A wrong zone shifts every naive event by
        hours and may move it to another session.
    calendar : str
        Exchange whose opens "next session open" refers to.
    run_id : str, optional
        Run that writes, kept with each row.
    """

    def __init__(
        self,
        conninfo: str | Database,
        producer: str = "unknown",
        *,
        producer_version: str | None = None,
        timezone: str = "America/New_York",
        calendar: str = "XNYS",
        run_id: str | None = None,
    ) -> None:
        self.database = conninfo if isinstance(conninfo, Database) else Database(conninfo)
        self.producer = producer
        self.producer_version = producer_version
        self.run_id = run_id
        self.zone = ZoneInfo(timezone)
        self.calendar = calendar

    def write_features(
        self,
        entity_key: str,
        timestamp: datetime,
        values: Mapping[str, float | Mapping[str, Any] | None],
        *,
        feature_version: int = 1,
        availability_lag: Lag | None = None,
    ) -> int:
        """Store the values of one entity at one event time, all of them or none.

        Parameters
        ----------
        entity_key : str
        timestamp : datetime
            Event time; naive means wall time in the store's zone.
        values : mapping
            A finite number or a JSON object for each feature; None or NaN, known to be missing,
            only where the feature's definition allows it.
        feature_version : int
        availability_lag : timedelta or "next session open", optional
            `timestamp` plus this is the ingest time; by default the database's clock is.

        Returns
        -------
        int
            Rows stored; a value that was known already is not stored again.

        Raises
        ------
        InvalidValueError, ConflictingValueError, AmbiguousTimeError
        """
        event_time = as_utc(timestamp, zone=self.zone)
        event = np.array([to_microseconds(event_time)])
        ingest_time = (
            self.database.now()
            if availability_lag is None
            else from_microseconds(
                available_times(event, availability_lag, calendar=self.calendar)[0]
            )
        )
        rows = [
            {
                "entity_key": entity_key,
                "feature_name": name,
                "feature_version": feature_version,
                "event_time": event_time,
                "ingest_time": ingest_time,
                **value_columns(name, value),
            }
            for name, value in values.items()
        ]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        return self._write(table).stored

    def write_frame(
        self, frame: Any, *, feature_version: int = 1, availability_lag: Lag | None = None
    ) -> WriteResult:
        """Store a frame of values, all of it or nothing.

        Parameters
        ----------
        frame : pyarrow.Table, pandas.DataFrame, or any object with the Arrow interface
            Long: `entity_key, feature_name, event_time, value`; wide: `entity_key, event_time`
            and a column a feature. Both may have `ingest_time`, long also `feature_version`, and
            `value_json` with a JSON object as text where there is no number. An empty cell of a
            wide frame is no row. Sorted by series and time it costs least.
        feature_version : int
            Where the frame does not say.
        availability_lag : timedelta or "next session open", optional
            Event time plus this is the ingest time where the frame has none; by default the
            database's clock is, which makes history look as if it had become known today.

        Returns
        -------
        WriteResult
            With the same ingest times, rows that are stored already are not stored again. At a
            later one, the values of an old file are revisions of what has been corrected since;
            `revised` counts them.

        Raises
        ------
        InvalidValueError, ConflictingValueError, AmbiguousTimeError, FeatureStoreError
        """
        table = arrow_table(frame)
        rows = frame_to_rows(
            table, feature_version=feature_version, ingest_time=self.database.now(), zone=self.zone
        )
        if availability_lag is not None and INGEST not in table.column_names:
            event = rows["event_time"].cast(pa.int64()).to_numpy()
            ingest = pa.array(
                available_times(event, availability_lag, calendar=self.calendar)
            ).cast(INSTANT)
            position = rows.column_names.index(INGEST)
            rows = rows.set_column(position, SCHEMA.field(INGEST), ingest)
        return self._write(rows)

    def get_latest(
        self,
        entity_key: str,
        feature_names: Sequence[str] | None = None,
        *,
        as_of: datetime | None = None,
        feature_version: int | None = None,
    ) -> dict[str, FeatureValue]:
        """Return the newest value of each feature that was known at one instant, now by default.

        Parameters
        ----------
        entity_key : str
        feature_names : sequence of str, optional
            All registered features by default.
        as_of : datetime, optional
            The instant; naive means wall time in the store's zone. What has an `ingest_time`
            later than now is not returned, however late the instant.
        feature_version : int, optional
            The newest registered version of each feature by default.

        Returns
        -------
        dict of str to FeatureValue
            In the order of the names; a feature of which nothing was known has no entry.

        Raises
        ------
        UnknownFeatureError
            A name, or that version of it, has never been registered or written.
        """
        if feature_names is None:
            feature_names = list(resolve_versions(self.database, None, version=feature_version))
        parameters = {
            "entity": entity_key,
            "names": list(feature_names),
            "version": feature_version,
            "as_of": None if as_of is None else as_utc(as_of, zone=self.zone),
        }
        found = {}
        for name, version, *known in self.database.fetch_all(
            query("select_latest_features"), parameters
        ):
            if version is None:
                # Says which version is missing, and what there is.
                resolve_versions(self.database, [name], version=feature_version)
            if known[0] is not None:
                found[name] = FeatureValue.of_row((entity_key, name, version, *known))
        return found

    def get_point_in_time(
        self,
        entity_times: Sequence[tuple[str, datetime]],
        feature_names: Sequence[str] | None = None,
        *,
        feature_version: int | None = None,
        knowledge_time: datetime | None = None,
        max_age: timedelta | int | None = None,
    ) -> list[FeatureValue]:
        """Return for each (entity, time) and feature the value that was known then.

        Each question costs a probe; for more than some thousands, `point_in_time_table` is faster.

        Parameters
        ----------
        entity_times : sequence of (str, datetime)
            Naive times are wall time in the store's zone.
        feature_names : sequence of str, optional
            All registered features by default.
        feature_version : int, optional
            The newest registered version of each feature by default.
        knowledge_time, max_age
            As in `point_in_time_table`.

        Returns
        -------
        list of FeatureValue
            In the order of the questions and, within one, of the features; what was not known is
            left out. Two times of one entity give two answers.

        Raises
        ------
        UnknownFeatureError, AmbiguousTimeError, InvalidValueError
        """
        versions = resolve_versions(self.database, feature_names, version=feature_version)
        times = [as_utc(time, zone=self.zone) for _, time in entity_times]
        known_by = self.known_by(knowledge_time)
        oldest = oldest_events(
            np.array([to_microseconds(time) for time in times], dtype=np.int64),
            max_age,
            calendar=self.calendar,
        )
        parameters = {
            "entities": [entity for entity, _ in entity_times],
            "times": times,
            "seen_by": [min(time, known_by) for time in times],
            "oldest": [from_microseconds(int(event)) for event in oldest],
            "names": list(versions),
            "versions": list(versions.values()),
        }
        rows = self.database.fetch_all(query("select_features_as_of"), parameters)
        return [FeatureValue.of_row(row) for row in rows]

    def point_in_time_table(
        self,
        spine: Any,
        feature_names: Sequence[str],
        *,
        feature_versions: Mapping[str, int] | None = None,
        knowledge_time: datetime | None = None,
        max_age: timedelta | int | None = None,
        vintage: Vintage = "as_known",
    ) -> pa.Table:
        """Join features to a spine of entities and times as they were known.

        Parameters
        ----------
        spine : pyarrow.Table, pandas.DataFrame, or any object with the Arrow interface
            Columns `entity_key` and `time`; other columns are carried along.
        feature_names : sequence of str
        feature_versions : mapping, optional
            Version to read of features; the newest registered of those not named, which a
            training set must not rely on.
        knowledge_time : datetime, optional
            Rows with a later ingest time are treated as not written; now by default, and now at
            the latest.
        max_age : timedelta or int, optional
            How old the event of an answer may be: a duration, or a number of sessions of the
            store's calendar that have closed since. Where the newest value known is older,
            nothing counts as known. Without it a series that broke off years ago still answers.
        vintage : {"as_known", "first", "latest"}
            What was known at each row's time; the first print of the event that was known then;
            or, to measure leakage and for nothing else, the newest print of the newest event,
            which sees revisions of the future.

        Returns
        -------
        pyarrow.Table
            One row for each spine row, in its order; one column for each feature, null where
            nothing was known. A feature with JSON documents among its answers is a column of
            JSON text.

        Raises
        ------
        FeatureStoreError, UnknownFeatureError, AmbiguousTimeError, InvalidValueError
        """
        return point_in_time_table(
            self.database,
            read_spine(spine, zone=self.zone, max_age=max_age, calendar=self.calendar),
            self._versions(feature_names, feature_versions or {}),
            knowledge_time=self.known_by(knowledge_time),
            vintage=vintage,
        )

    def history(
        self,
        entity_key: str,
        feature_name: str,
        event_time: datetime | None = None,
        *,
        feature_version: int | None = None,
    ) -> list[FeatureValue]:
        """Return every stored value of a series, or of one event, in the order they became known.

        `as_of_time` of each is its own ingest time, or its event time if that is later.
        """
        versions = resolve_versions(self.database, [feature_name], version=feature_version)
        parameters = {
            "entity": entity_key,
            "name": feature_name,
            "version": versions[feature_name],
            "event_time": None if event_time is None else as_utc(event_time, zone=self.zone),
        }
        rows = self.database.fetch_all(query("select_feature_history"), parameters)
        return [FeatureValue.of_row(row) for row in rows]

    def known_by(self, knowledge_time: datetime | None) -> datetime:
        """Return the knowledge time of a read: now, or the given one if that is earlier.

        Several reads that are to see the same take one of these, as "now" is another for each.
        """
        now = self.database.now()
        return now if knowledge_time is None else min(as_utc(knowledge_time, zone=self.zone), now)

    def _versions(self, names: Sequence[str], pinned: Mapping[str, int]) -> dict[str, int]:
        given = {name: pinned[name] for name in names if name in pinned}
        if given:
            require_registered(self.database, given)
        newest = resolve_versions(self.database, [name for name in names if name not in pinned])
        return {name: given.get(name) or newest[name] for name in names}

    def _write(self, rows: pa.Table) -> WriteResult:
        return write_rows(
            self.database,
            settle_missing(rows, lambda: missing_allowed(self.database)),
            producer=self.producer,
            producer_version=self.producer_version,
            run_id=self.run_id,
        )
