"""Evaluations of models: entered, newest values, and the best model by one of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import RegistryError
from quant_mlops.registry.records import ModelInfo, ModelWithMetrics
from quant_mlops.registry.versions import unknown_model

DATASET_TYPES = ("train", "val", "test", "backtest", "live")


def log_metrics(
    database: Database,
    model_id: UUID,
    metrics: Mapping[str, float],
    *,
    dataset_type: str,
    connection: psycopg.Connection[TupleRow] | None = None,
) -> None:
    """Store an evaluation; a metric that could not be computed (NaN) is stored as NULL.

    Raises
    ------
    RegistryError
        The data set is none of train, val, test, backtest and live, or a value is infinite or no
        number; nothing of the evaluation is stored.
    ModelNotFoundError
    """
    refuse_unknown_dataset(dataset_type)
    rows = [
        (model_id, name, _storable(name, value), dataset_type) for name, value in metrics.items()
    ]
    try:
        with database.transaction(connection) as lent, lent.cursor() as cursor:
            cursor.executemany(query("insert_model_metric"), rows)
    except psycopg.errors.ForeignKeyViolation:
        raise unknown_model(model_id) from None


def newest_metrics(database: Database, model_ids: Iterable[UUID]) -> dict[UUID, dict[str, float]]:
    """Return the newest value of each metric of each model, by one query.

    Returns
    -------
    dict
        By model, in the order given, then by metric and data set such as `ic_mean_test`; what is
        undefined is left out.
    """
    found: dict[UUID, dict[str, float]] = {model_id: {} for model_id in model_ids}
    rows = database.fetch_all(query("select_metrics_of_models"), [list(found)]) if found else []
    for model_id, name, dataset, value in rows:
        if value is not None and math.isfinite(value):
            found[model_id][f"{name}_{dataset}"] = value
    return found


def get_best_model(
    database: Database,
    strategy_type: str,
    metric_name: str,
    *,
    dataset_type: str = "test",
    higher_is_better: bool = True,
) -> ModelWithMetrics | None:
    """Return the model of a strategy type whose newest evaluation of a metric is best.

    A model for which the metric is undefined cannot win; of equal ones the newer wins.

    Raises
    ------
    RegistryError
        The data set is none that evaluations are stored for.
    """
    refuse_unknown_dataset(dataset_type)
    parameters = {
        "strategy_type": strategy_type,
        "metric": metric_name,
        "dataset": dataset_type,
        "sign": 1.0 if higher_is_better else -1.0,
    }
    found = database.fetch_rows(ModelInfo, query("select_best_model"), parameters)
    if not found:
        return None
    (best,) = found
    return ModelWithMetrics(best, newest_metrics(database, [best.model_id])[best.model_id])


def first_metric_difference(
    registered: Mapping[str, float], found: Mapping[str, Mapping[str, float]]
) -> tuple[str, float, float] | None:
    """Return the first metric that has another value now, with both values; None if none has.

    Parameters
    ----------
    registered : mapping of str to float
        As `newest_metrics` gives them, such as `ic_mean_test`; what is undefined is absent.
    found : mapping of str to mapping
        By data set, then by metric; NaN where undefined.
    """
    for dataset, metrics in found.items():
        for name, value in metrics.items():
            before = registered.get(f"{name}_{dataset}", math.nan)
            if before != value and not (math.isnan(before) and math.isnan(value)):
                return f"{name}_{dataset}", before, value
    return None


def refuse_unknown_dataset(dataset_type: str) -> None:
    """Raise RegistryError for a data set that no evaluation is stored for."""
    if dataset_type not in DATASET_TYPES:
        raise RegistryError(
            f"dataset_type {dataset_type!r} is none of {', '.join(DATASET_TYPES)}; use one"
        )


def _storable(name: str, value: object) -> float | None:
    if not name.strip():
        raise RegistryError(f"a metric of value {value} has no name; give one")
    try:
        # Text that reads as a number is refused as well: it was meant for something else.
        number = math.inf if isinstance(value, str | bytes) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise RegistryError(
            f"metric {name} is {value!s:.100}; give a finite number, or NaN if it is undefined"
        )
    return None if math.isnan(number) else number
