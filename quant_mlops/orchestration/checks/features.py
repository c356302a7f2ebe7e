"""Checks of the features: four that stop a run, and two that warn."""

# Dagster reads the annotation of `context` as it stands, so it must not be postponed to a string.

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

from quant_mlops.audits import late_features, parity_check
from quant_mlops.features.integrity import (
    Example,
    FeatureIntegrity,
    changed_logic,
    feature_integrity,
)
from quant_mlops.features.parity import FeatureParity
from quant_mlops.features.value_reviews import early_values
from quant_mlops.features.values import FeatureValue
from quant_mlops.orchestration.checks.run_sessions import computed_range, run_sessions
from quant_mlops.orchestration.metadata import shown_table
from quant_mlops.orchestration.resources import Server
from quant_mlops.strategy import Strategy

DEFINED, ONCE, IN_TIME = "values_are_defined", "nothing_is_stored_twice", "nothing_looks_ahead"
# Recomputing takes a second or two for some hundred tickers, however long the run is.
PARITY_SESSIONS = 5


def feature_checks(strategy: Strategy) -> list[dg.AssetChecksDefinition]:
    """Return the checks of a strategy's features."""
    asset = dg.AssetKey([strategy.name, "feature_events"])

    def blocking(name: str, description: str) -> dg.AssetCheckSpec:
        return dg.AssetCheckSpec(name, asset=asset, blocking=True, description=description)

    @dg.multi_asset_check(
        name=f"{strategy.name}__feature_integrity",
        specs=[
            blocking(
                DEFINED,
                "No feature of the run's sessions is null or infinite whose definition "
                "does not allow missing values.",
            ),
            blocking(
                ONCE,
                "No feature has a second value of a session, beside that of its close, "
                "and no print that repeats the one before it.",
            ),
            blocking(
                IN_TIME, "No feature of the run's sessions was known before the session closed."
            ),
        ],
    )
    def integrity(
        context: dg.AssetCheckExecutionContext, server: Server
    ) -> Iterable[dg.AssetCheckResult]:
        first, last = computed_range(context, server, strategy)
        database, tickers = server.access.database, server.strategy(strategy).tickers
        found = feature_integrity(
            database, strategy.trading_calendar, strategy.definitions,
            first=first, last=last, tickers=tickers,
        )  # fmt: skip
        kinds = {
            DEFINED: [(f.key, f.undefined, f.undefined_example) for f in found],
            ONCE: [(f.key, f.duplicates, f.duplicate_example) for f in found],
            IN_TIME: [(f.key, f.early, f.early_example) for f in found],
        }
        for name, counted in kinds.items():
            concerned = sum(count for _, count, _ in counted)
            evidence: dict[str, Any] = {
                "sessions": " to ".join(dict.fromkeys([first.isoformat(), last.isoformat()])),
                "rows_concerned": concerned,
                "by_feature": _integrity_table(found),
            }
            if concerned:
                evidence["to_go_on"] = _way_past(counted)
            if concerned and name == IN_TIME:
                evidence["early_values"] = _early_table(
                    early_values(
                        database,
                        strategy.trading_calendar,
                        strategy.definitions,
                        first=first,
                        last=last,
                        tickers=tickers,
                    )
                )
            yield dg.AssetCheckResult(
                asset_key=asset, check_name=name, passed=not concerned, metadata=evidence
            )

    @dg.asset_check(
        asset=asset,
        blocking=True,
        description="The stored logic hash of every feature version is that of the code.",
    )
    def logic_is_as_stored(server: Server) -> dg.AssetCheckResult:
        changed = changed_logic(server.access.database, strategy.definitions)
        rows = [(key, was[:12] or "none", now[:12]) for key, (was, now) in changed.items()]
        return dg.AssetCheckResult(
            passed=not changed,
            metadata={
                "definitions": len(strategy.definitions),
                "changed": shown_table(("feature", "stored", "code"), rows),
            },
        )

    @dg.asset_check(
        asset=asset,
        description="Features arrive by the time a session is judged, and none has fallen behind.",
    )
    def values_arrive_in_time(
        context: dg.AssetCheckExecutionContext, server: Server
    ) -> dg.AssetCheckResult:
        session = max(run_sessions(context, strategy))
        report = late_features(server.strategy(strategy), session)
        rows = [
            (a.key, str(a.lag_p50), str(a.lag_p95), a.freshness_sessions, a.share_assumed)
            for a in report.arrivals
        ]
        header = ("feature", "median lag", "95% within", "sessions old", "share assumed")
        return dg.AssetCheckResult(
            passed=not report.problems,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "problems": "; ".join(report.problems) or "none",
                "arrivals": shown_table(header, rows),
            },
        )

    @dg.asset_check(
        asset=asset,
        description=f"What was served in the newest {PARITY_SESSIONS} sessions of the run is what "
        f"the prices known then give; what differs is explained.",
    )
    def served_values_agree_with_prices(
        context: dg.AssetCheckExecutionContext, server: Server
    ) -> dg.AssetCheckResult:
        newest = sorted(run_sessions(context, strategy))[-PARITY_SESSIONS:]
        work = server.strategy(strategy)
        found = parity_check(work, work.sessions(newest[0], newest[-1]))
        return dg.AssetCheckResult(
            # What another job writes has a definition that gives nothing to compare with.
            passed=all(p.agrees or p.compared == p.not_served == 0 for p in found),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "cells": sum(parity.compared for parity in found),
                "mismatches": sum(parity.mismatches for parity in found),
                "by_feature": _parity_table(found),
            },
        )

    return [integrity, logic_is_as_stored, values_arrive_in_time, served_values_agree_with_prices]


def _integrity_table(found: Sequence[FeatureIntegrity]) -> dg.TableMetadataValue:
    header = ("feature", "rows", "undefined", "off the close", "repeated", "early", "for example")
    return shown_table(
        header,
        [
            (f.key, f.rows, f.undefined, f.off_close, f.repeated, f.early, _example(f))
            for f in found
        ],
    )


def _example(found: FeatureIntegrity) -> str | None:
    examples = (found.undefined_example, found.duplicate_example, found.early_example)
    return next((f"{each[0]} at {each[1].isoformat()}" for each in examples if each), None)


def _way_past(counted: Sequence[tuple[str, int, Example | None]]) -> str:
    """Return what to do about values that stop a run, with the command for one of them."""
    key, (entity, about) = next((key, example) for key, _, example in counted if example)
    return (
        f"mend what wrote the values, and say of each why it is there, as with `quant-mlops "
        f"features review {entity} {key.partition('@')[0]} {about.isoformat()} --by NAME --reason "
        f"WHY`; then run the sessions again"
    )


def _early_table(early: Sequence[FeatureValue]) -> dg.TableMetadataValue:
    rows = [
        (v.entity_key, f"{v.feature_name}@{v.feature_version}", v.event_time.isoformat(),
         v.ingest_time.isoformat(), str(v.value), v.producer)
        for v in early
    ]  # fmt: skip
    return shown_table(("entity", "feature", "about", "known from", "value", "producer"), rows)


def _parity_table(found: Sequence[FeatureParity]) -> dg.TableMetadataValue:
    header = ("feature", "cells", "not served", "differ", "largest difference", "explanation")
    rows = [
        (
            f"{p.feature_name}@{p.feature_version}", p.compared, p.not_served, p.mismatches,
            p.largest_difference, str(p.explanation),
        )
        for p in found
    ]  # fmt: skip
    return shown_table(header, rows)
