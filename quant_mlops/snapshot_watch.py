"""The watch over training sets: the newest are verified again, and one that fails is an alert."""

from __future__ import annotations

from dataclasses import dataclass

from quant_mlops.alerts.outbox import NewAlert, record_alerts
from quant_mlops.strategy_context import StrategyContext
from quant_mlops.training.snapshot_files import Snapshot, list_snapshots
from quant_mlops.training.snapshot_verification import SnapshotVerdict, verify_snapshot

SNAPSHOT_FAILED = "snapshot_verification"
NEWEST = 3


@dataclass(frozen=True)
class VerifiedSnapshot:
    """A snapshot and what its verification found."""

    snapshot: Snapshot
    verdict: SnapshotVerdict

    @property
    def problem(self) -> str:
        """What is wrong with the file or with the database, empty if nothing is."""
        found = (self.verdict.file_problem, self.verdict.database_problem)
        return "; ".join(problem for problem in found if problem)


def verify_newest_snapshots(
    context: StrategyContext, *, count: int = NEWEST
) -> list[VerifiedSnapshot]:
    """Verify a strategy's newest training sets by file and from the database.

    A training set that fails is put into the outbox as a critical alert, once for each of the
    two ways to fail.
    """
    name = context.strategy.name
    found = [
        VerifiedSnapshot(snapshot, verify_snapshot(context.store, snapshot))
        for snapshot in list_snapshots(context.database, name)[:count]
    ]
    session = context.calendar.session_of(context.database.now())
    alerts = [
        NewAlert(
            dedupe_key=f"{name}/{SNAPSHOT_FAILED}/{each.snapshot.snapshot_id}/{kind}",
            strategy_id=name,
            rule=SNAPSHOT_FAILED,
            severity="critical",
            action="check_snapshot",
            message=f"training set {each.snapshot.fingerprint[:16]} does not verify "
            f"against its {kind}: {problem}",
            opened_session=session,
            last_session=session,
            evidence={"snapshot_id": each.snapshot.snapshot_id, "kind": kind},
        )
        for each in found
        for kind, problem in (
            ("file", each.verdict.file_problem), ("database", each.verdict.database_problem),
        )
        if problem
    ]  # fmt: skip
    if alerts:
        with context.database.transaction() as connection:
            record_alerts(connection, alerts)
    return found
