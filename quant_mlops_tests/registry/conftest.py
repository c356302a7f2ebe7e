"""A registry with artifacts in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.registry import ModelRegistry


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(database, artifacts=tmp_path / "arti#facts ?")


@pytest.fixture
def snapshot_id(database: Database) -> UUID:
    """Give the id of a training snapshot's row."""
    found = uuid4()
    database.execute(
        query("insert_training_snapshot"),
        {
            "snapshot_id": found,
            "strategy_id": "momentum",
            "fingerprint": "f" * 64,
            "knowledge_time": datetime(2024, 1, 2, tzinfo=UTC),
            "first_session": date(2023, 1, 3),
            "last_session": date(2023, 12, 29),
            "spine_first": date(2023, 1, 3),
            "spine_last": date(2023, 12, 29),
            "universe": None,
            "row_count": 1,
            "left_out": Jsonb({}),
            "features": Jsonb({}),
            "label": Jsonb({}),
            "uri": "file:///nowhere",
            "file_sha256": "0" * 64,
            "code_version": "test",
        },
    )
    return found


@pytest.fixture
def versions(registry: ModelRegistry) -> Callable[[int], list[UUID]]:
    """Give a function that registers so many versions of the model m."""

    def register(count: int) -> list[UUID]:
        return [registry.register_model("m", "momentum") for _ in range(count)]

    return register
