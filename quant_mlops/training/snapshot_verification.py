"""Whether a training set is what was written, and what the database still says it should be."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from quant_mlops.errors import QuantMlopsError, SnapshotTamperedError
from quant_mlops.features.store import FeatureStore
from quant_mlops.market.calendar import trading_calendar
from quant_mlops.training.label import LabelDefinition
from quant_mlops.training.lost_training_sets import what_was_dropped
from quant_mlops.training.snapshot import SnapshotDefinition, refuse_empty, snapshot_blocks
from quant_mlops.training.snapshot_diff import CELLS_LISTED, SnapshotDiff, diff_files
from quant_mlops.training.snapshot_files import Snapshot, check_file, local_data
from quant_mlops.training.snapshot_parquet import WrittenTable, write_blocks


@dataclass(frozen=True)
class SnapshotVerdict:
    """Whether a snapshot's file is intact, and whether the database gives the same again.

    Attributes
    ----------
    file_problem : str or None
        What is wrong with the file; None if it is what was written.
    rebuilt_fingerprint : str or None
        Of the training set collected again at the knowledge time; None if it cannot be.
    database_problem : str or None
        Why the database does not give the same; None if it does.
    differences : SnapshotDiff or None
        From the file to what was collected again, where they differ and the file can be read.
    dropped : str or None
        What retention dropped of its rows, when, and who did it. The database cannot give the
        same then, which is no problem of the record unless more than rows are missing.
    """

    file_problem: str | None
    rebuilt_fingerprint: str | None
    database_problem: str | None
    differences: SnapshotDiff | None
    dropped: str | None = None

    @property
    def intact(self) -> bool:
        """Whether the file is what was written."""
        return self.file_problem is None

    @property
    def reproducible(self) -> bool:
        """Whether the database gives the same training set again."""
        return self.database_problem is None and self.dropped is None

    @property
    def database_words(self) -> str:
        """What the database says of the training set."""
        found = (self.database_problem, self.dropped and f"{self.dropped}; the file is its record")
        return "; ".join(words for words in found if words) or "the same again"


def verify_snapshot(store: FeatureStore, snapshot: Snapshot) -> SnapshotVerdict:
    """Check a snapshot against its own record, and against the database at its knowledge time.

    A revision that became known later changes neither: it is after the knowledge time.

    Parameters
    ----------
    store : FeatureStore
    snapshot : Snapshot

    Raises
    ------
    StorageError
        Its folder cannot be reached.
    """
    file_problem = None
    try:
        check_file(snapshot)
    except SnapshotTamperedError as error:
        file_problem = str(error)
    dropped = what_was_dropped(store.database, snapshot)
    try:
        with rebuilt(store, snapshot) as found:
            same = found.fingerprint == snapshot.fingerprint
            differences = None if same and not file_problem else _difference(snapshot, found)
    except QuantMlopsError as error:
        # Prices or features may be gone altogether; each reader says so in its own way.
        return SnapshotVerdict(file_problem, None, None if dropped else str(error), None, dropped)
    problem = None
    if not same and not (dropped and _only_lacks_rows(differences)):
        problem = (
            f"what the database knew at {snapshot.knowledge_time.isoformat()} gives fingerprint "
            f"{found.fingerprint} and the snapshot has {snapshot.fingerprint}"
        )
    return SnapshotVerdict(file_problem, found.fingerprint, problem, differences, dropped)


def revisions_since(
    store: FeatureStore, snapshot: Snapshot, *, now: datetime, cells: int = CELLS_LISTED
) -> SnapshotDiff:
    """Return what of a snapshot would differ if it were built with the knowledge of now.

    Features take the newest print of the newest event before each decision, and labels the
    prices known now, so that every revision since shows. What is compared with is a training
    set that sees the future: it measures, and is not to be trained on. Decisions after the last
    one of the snapshot, whose labels have become known since, are no part of it.

    Parameters
    ----------
    store : FeatureStore
    snapshot : Snapshot
    now : datetime
        Aware.
    cells : int
        How many cells are listed.
    """
    definition = replace(
        definition_of(snapshot),
        first=snapshot.first_session,
        last=snapshot.last_session,
        knowledge_time=now,
        vintage="latest",
    )
    with collected(store, definition) as found, local_data(snapshot) as path:
        return diff_files(path, found.path, cells=cells)


@contextmanager
def rebuilt(store: FeatureStore, snapshot: Snapshot) -> Iterator[WrittenTable]:
    """Collect a snapshot again from the database, into a file that is gone after the block.

    Raises
    ------
    EmptySnapshotError, MarketDataError, UnknownFeatureError
        The database has no row of it.
    """
    with collected(store, definition_of(snapshot)) as found:
        yield found


@contextmanager
def collected(store: FeatureStore, definition: SnapshotDefinition) -> Iterator[WrittenTable]:
    """Collect a training set into a file that is gone after the block."""
    calendar = trading_calendar(definition.label.calendar)
    with tempfile.TemporaryDirectory(prefix="quant-mlops-") as folder:
        found = write_blocks(
            Path(folder) / "data.parquet",
            snapshot_blocks(store, calendar, definition),
            meaning=definition.meaning(),
        )
        refuse_empty(definition, found.row_count, found.left_out, found.missing)
        yield found


def definition_of(snapshot: Snapshot) -> SnapshotDefinition:
    """Return what a snapshot was built from."""
    label = LabelDefinition(
        horizon=int(snapshot.label["horizon"]), calendar=str(snapshot.label["calendar"])
    )
    return SnapshotDefinition(
        features=snapshot.feature_versions,
        label=label,
        first=snapshot.spine_first or snapshot.first_session,
        last=snapshot.spine_last or snapshot.last_session,
        knowledge_time=snapshot.knowledge_time,
        universe=snapshot.universe,
        strategy_id=snapshot.strategy_id,
        listed_by=snapshot.created_at,
        max_ages=snapshot.max_ages,
    )


def _only_lacks_rows(differences: SnapshotDiff | None) -> bool:
    """Tell whether rows that are gone are all that differs, as far as that can be seen."""
    return differences is None or not (
        differences.rows_new
        or differences.cells_changed
        or differences.columns_gone
        or differences.columns_new
    )


def _difference(snapshot: Snapshot, found: WrittenTable) -> SnapshotDiff | None:
    try:
        with local_data(snapshot) as path:
            return diff_files(path, found.path)
    except (OSError, ValueError, SnapshotTamperedError):
        # A damaged or missing file has no cells to compare; that is said already.
        return None
