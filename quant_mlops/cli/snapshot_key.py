"""How a command names a snapshot: by its UUID or the first digits of its fingerprint."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import click

from quant_mlops.database import Database
from quant_mlops.training.snapshot_files import (
    FEWEST_DIGITS,
    Snapshot,
    find_snapshot,
    find_snapshot_by_fingerprint,
)


class SnapshotKey(click.ParamType["UUID | str"]):
    """The UUID of a snapshot, or the first digits of its fingerprint."""

    name = "snapshot"

    def convert(self, value: Any, param: Any, ctx: Any) -> UUID | str:
        if isinstance(value, UUID):
            return value
        # Of 32 digits without hyphens a fingerprint is meant: nothing prints a UUID like that.
        if re.fullmatch(rf"[0-9a-fA-F]{{{FEWEST_DIGITS},}}", value):
            return str(value).lower()
        try:
            return UUID(value)
        except ValueError:
            self.fail(
                f"{value!r} is neither the UUID of a snapshot nor {FEWEST_DIGITS} or more "
                f"hexadecimal digits of its fingerprint; `quant-mlops snapshot list` shows both",
                param,
                ctx,
            )


def find_by_key(database: Database, key: UUID | str) -> Snapshot:
    """Return the snapshot that a key names."""
    if isinstance(key, UUID):
        return find_snapshot(database, key)
    return find_snapshot_by_fingerprint(database, key)
