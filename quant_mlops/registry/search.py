"""Search for models by what is known of them, with the newest value of each metric."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import RegistryError
from quant_mlops.registry.deployments import refuse_naive
from quant_mlops.registry.metrics import DATASET_TYPES, newest_metrics, refuse_unknown_dataset
from quant_mlops.registry.records import MetricBound, ModelInfo, ModelWithMetrics
from quant_mlops.registry.versions import as_json

COLUMNS = ("name", "version", "created_at")


def search_models(
    database: Database,
    *,
    name: str | None = None,
    strategy_type: str | None = None,
    tags: Mapping[str, str | None] | None = None,
    params: Mapping[str, Any] | None = None,
    metric: MetricBound | None = None,
    snapshot_id: UUID | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    order_by: str | None = None,
    limit: int | None = None,
) -> list[ModelWithMetrics]:
    """Return the models that fit all that is given, by one query for them and one for metrics.

    Parameters
    ----------
    database : Database
    name, strategy_type : str, optional
        Exactly this.
    tags : mapping of str to str or None, optional
        Present values of tags; None asks for the tag, whatever its value.
    params : mapping, optional
        JSON that the hyperparameters contain: `{"tree": {"depth": 3}}` is contained in
        `{"tree": {"depth": 3, "eta": 0.1}, "seed": 1}`.
    metric : MetricBound, optional
        Bounds of a metric's newest value; a model for which it is undefined is not found.
    snapshot_id : UUID, optional
        Trained on this.
    created_after, created_before : datetime, optional
        Aware; registered at or after the first, and before the second.
    order_by : str, optional
        `name` (the default), `version`, `created_at`, or a metric and its data set such as
        `ic_mean_test`; with a minus in front, from the greatest down. What is undefined comes
        last in either direction, and of equal ones the newer comes first.
    limit : int, optional
        At most so many.

    Raises
    ------
    RegistryError
        A time has no zone, a bound is NaN, the data set of a bound or the order is none that
        there is, or the limit is below 1.
    """
    for moment in (created_after, created_before):
        refuse_naive(moment)
    if limit is not None and limit < 1:
        raise RegistryError(f"at most {limit} models were asked for; give a limit of 1 or more")
    values = {tag: value for tag, value in (tags or {}).items() if value is not None}
    parameters = {
        "name": name,
        "strategy_type": strategy_type,
        "tags": Jsonb(values),
        "tag_names": list(tags or {}),
        "params": as_json(params, what="the parameters to search for"),
        "snapshot_id": snapshot_id,
        "created_after": created_after,
        "created_before": created_before,
        "limit": limit,
        **_bounds(metric),
        **_order(order_by or "name"),
    }
    models = database.fetch_rows(ModelInfo, query("search_models"), parameters)
    metrics = newest_metrics(database, [model.model_id for model in models])
    key = (order_by or "name").removeprefix("-")
    if key not in COLUMNS and not _is_evaluated(database, *key.rpartition("_")[::2]):
        names = sorted({name for found in metrics.values() for name in found})
        near = difflib.get_close_matches(key, names, n=3, cutoff=0.5) or names[:3]
        raise RegistryError(
            f"models were to be ordered by {key}, of which no model has a value; near in name: "
            f"{', '.join(near) or 'none'}"
        )
    return [ModelWithMetrics(model, metrics[model.model_id]) for model in models]


def _is_evaluated(database: Database, metric: str, dataset: str) -> bool:
    statement = "SELECT 1 FROM model_metrics WHERE metric_name = %s AND dataset_type = %s LIMIT 1"
    return database.fetch_one(statement, [metric, dataset]) is not None


def _bounds(metric: MetricBound | None) -> dict[str, Any]:
    if metric is None:
        return dict.fromkeys(("metric", "dataset", "at_least", "at_most"))
    refuse_unknown_dataset(metric.dataset)
    for bound in (metric.at_least, metric.at_most):
        if bound is not None and math.isnan(bound):
            raise RegistryError(
                f"a bound of {metric.name} is NaN, which no value is above or below; give a number"
            )
    return {
        "metric": metric.name,
        "dataset": metric.dataset,
        "at_least": metric.at_least,
        "at_most": metric.at_most,
    }


def _order(order_by: str) -> dict[str, Any]:
    key = order_by.removeprefix("-")
    sign = -1.0 if order_by.startswith("-") else 1.0
    if key in COLUMNS:
        return {"order_column": key, "order_metric": None, "order_dataset": None, "sign": sign}
    metric, _, dataset = key.rpartition("_")
    if not metric or dataset not in DATASET_TYPES:
        raise RegistryError(
            f"models cannot be ordered by {order_by!r}; give {', '.join(COLUMNS)}, or a metric and "
            f"its data set such as ic_mean_test, with a minus in front for the greatest first"
        )
    return {"order_column": None, "order_metric": metric, "order_dataset": dataset, "sign": sign}
