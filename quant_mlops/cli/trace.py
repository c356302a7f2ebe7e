"""`quant-mlops trace`: where one stored prediction came from."""

from __future__ import annotations

import re
from datetime import date, datetime

import click

from quant_mlops.cli.output import emit, json_option, print_pairs, print_table, say
from quant_mlops.cli.workspace import SessionOrInstant, open_strategy, strategy_option
from quant_mlops.serving.trace import Trace, TracedValue
from quant_mlops.serving.trace import trace as trace_prediction
from quant_mlops.wording import short_time

COMMIT = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28}\b")
VERDICTS = {
    "matches": "matches: these are the values that were used",
    "matches without later rows": "matches without the rows that were written later, below",
    "differs": "DIFFERS: these values do not give the digest that was stored",
}


@click.command(epilog="Example: quant-mlops trace AAPL 2022-12-20T14:30+00:00")
@click.argument("entity")
@click.argument("time", type=SessionOrInstant())
@strategy_option
@json_option
def trace(entity: str, time: datetime | date, strategy_name: str | None, as_json: bool) -> None:
    """Show where the prediction of ENTITY at TIME came from.

    TIME is a decision time or one after it, wall time in New York unless it has a zone; the
    newest prediction since the open before it is shown. A date is a session.
    """
    with open_strategy(strategy_name) as work:
        found = trace_prediction(
            work.registry,
            work.calendar,
            strategy_id=work.strategy.name,
            entity_key=entity,
            time=time,
        )
    emit(found, as_json=as_json, show=lambda: _show(found))


def _show(found: Trace) -> None:
    print_pairs(_prediction(found), title="Prediction")
    print_pairs(_model(found), title="Model")
    print_pairs(_training(found), title="Training")
    print_table(
        ("feature", "value", "event time", "known since"),
        [
            (_key(v), _number(v.value), _time(v.event_time), _time(v.ingest_time))
            for v in found.features
        ],
        title="Features, as known at the decision",
    )
    print_table(*_writers(found.features), title="Who wrote them")
    if found.later:
        print_table(*_writers(found.later), title="Written later, as if known at the decision")
    for note in found.notes:
        say(f"note: {note}")


def _prediction(found: Trace) -> list[tuple[str, object]]:
    made = found.prediction
    times: list[tuple[str, object]] = [("decided at", made.event_time)]
    if not found.exact:
        times += [("asked about", found.asked), ("found", "the newest since the open before it")]
    return [
        ("entity", f"{made.entity_key}, {made.strategy_id}"),
        *times,
        ("for session", made.session),
        ("signal", made.signal),
        ("recorded at", made.recorded_at),
        ("digest", made.feature_digest),
        ("verdict", VERDICTS[found.verdict]),
    ]


def _model(found: Trace) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = [
        ("model", found.model.label),
        ("id", found.model.model_id),
    ]
    live = found.deployment
    if live is not None:
        label = f"{live.name} v{live.version}"
        pairs += [
            ("live then", label),
            ("from", live.live_from),
            ("until", live.live_until),
            ("promoted by", live.promoted_by),
            ("reason", live.reason),
            *((name, _said(value)) for name, value in live.evidence.items() if value is not None),
        ]
    return pairs


def _training(found: Trace) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    if found.snapshot is not None:
        pairs += [
            ("snapshot", found.snapshot.snapshot_id),
            ("fingerprint", f"{found.snapshot.fingerprint[:16]}..."),
            ("knowledge", found.snapshot.knowledge_time),
            ("rows", f"{found.snapshot.row_count:,}"),
        ]
    if found.training is not None:
        run = found.training
        dirty = ", with changes that were not committed" if run.code_dirty else ""
        pairs += [
            ("run", run.run_id),
            ("sessions", f"{run.dataset_start} to {run.dataset_end}"),
            ("seed", run.seed),
            ("code", f"{_short(run.code_version)}{dirty}"),
            ("finished", run.finished_at),
        ]
    return pairs


def _writers(values: tuple[TracedValue, ...]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return one row for each producer, version and run, as most often one wrote all."""
    groups: dict[tuple[str | None, ...], list[TracedValue]] = {}
    for value in values:
        if value.recorded_at is not None:
            key = (value.producer, value.producer_version, value.run_id)
            groups.setdefault(key, []).append(value)
    rows: list[tuple[object, ...]] = []
    for (producer, version, run), wrote in groups.items():
        times = list(dict.fromkeys(_time(value.recorded_at) for value in wrote))
        names = ", ".join(f"{_key(value)} {_number(value.value)}" for value in wrote)
        rows.append((producer, _short(version), run, " ".join(times), names))
    return ("producer", "version", "run", "written at", "values"), rows


def _short(version: str | None) -> str | None:
    """Return a version with commits as people quote them."""
    return None if version is None else COMMIT.sub(r"\1", version)


def _said(value: object) -> str:
    """Return evidence as a line of text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(entry)}" for name, entry in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _key(value: TracedValue) -> str:
    return f"{value.feature_name}@{value.feature_version}"


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.6g}"


def _time(moment: datetime | None) -> str:
    return short_time(moment) or "-"
