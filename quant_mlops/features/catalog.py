"""Which features and versions exist, and the logic that each version stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from quant_mlops.database import Database
from quant_mlops.database.queries import query
from quant_mlops.errors import FeatureLogicChangedError, UnknownFeatureError
from quant_mlops.features.age_limit import AgeLimit
from quant_mlops.features.definition import FeatureDefinition


@dataclass(frozen=True)
class RegisteredFeature:
    """A row of `feature_definitions`; `logic_hash` is empty for values written without code."""

    feature_name: str
    feature_version: int
    logic_hash: str
    lookback: int
    availability_lag: timedelta
    description: str
    registered_at: datetime
    allows_missing: bool = False

    @property
    def key(self) -> str:
        """Name and version, such as rsi_14@1."""
        return f"{self.feature_name}@{self.feature_version}"


def register_definitions(database: Database, definitions: Iterable[FeatureDefinition]) -> None:
    """Store definitions that are not stored yet, and hold the others against what is stored.

    Raises
    ------
    FeatureLogicChangedError
        A stored version has other logic. Values of two kinds of logic would otherwise mix in one
        series; raise the version in the definition instead.
    """
    with database.transaction() as connection:
        # In one order, as two processes would otherwise wait for each other's rows.
        for definition in sorted(definitions, key=lambda d: (d.name, d.version)):
            row = connection.execute(
                query("register_feature_definition"),
                {
                    "name": definition.name,
                    "version": definition.version,
                    "logic_hash": definition.logic_hash,
                    "lookback": definition.lookback,
                    "lag": definition.availability_lag,
                    "allows_missing": definition.allows_missing,
                    "description": definition.description,
                },
            ).fetchone()
            _refuse_other_logic(definition, str(row[0]) if row else "")


def refuse_changed_logic(database: Database, definitions: Iterable[FeatureDefinition]) -> None:
    """Hold definitions against what is stored, without storing those that are not.

    Raises
    ------
    FeatureLogicChangedError
        As `register_definitions`.
    """
    stored = {(f.feature_name, f.feature_version): f for f in registered_features(database)}
    for definition in definitions:
        found = stored.get((definition.name, definition.version))
        if found is not None and found.logic_hash:
            _refuse_other_logic(definition, found.logic_hash)


def _refuse_other_logic(definition: FeatureDefinition, stored: str) -> None:
    if stored != definition.logic_hash:
        raise FeatureLogicChangedError(
            f"{definition.key} is stored with logic {stored[:12] or 'undeclared'} and the code now "
            f"has {definition.logic_hash[:12]}; define it as "
            f"{definition.name}@{definition.version + 1} and backfill that with "
            f"`quant-mlops features backfill`"
        )


def registered_features(database: Database) -> list[RegisteredFeature]:
    """Return every registered feature version, by name and version."""
    return database.fetch_rows(RegisteredFeature, query("select_feature_definitions"))


def resolve_versions(
    database: Database, names: Sequence[str] | None, *, version: int | None = None
) -> dict[str, int]:
    """Return the version to read of each feature: the given one, or the newest registered.

    Raises
    ------
    UnknownFeatureError
        A name, or that version of it, has never been registered or written.
    """
    known: dict[str, list[int]] = {}
    for registered in registered_features(database):
        known.setdefault(registered.feature_name, []).append(registered.feature_version)
    resolved = {}
    for name in names if names is not None else sorted(known):
        versions = known.get(name, [])
        if names is None and version is not None and version not in versions:
            continue
        if not versions or (version is not None and version not in versions):
            wanted = name if version is None else f"{name}@{version}"
            raise UnknownFeatureError(
                f"feature {wanted} is not in the store, which holds "
                f"{', '.join(sorted(known)) or 'none yet'}; write it first"
            )
        resolved[name] = max(versions) if version is None else version
    return resolved


def require_registered(
    database: Database, versions: Mapping[str, int]
) -> dict[str, RegisteredFeature]:
    """Return what is registered of each version, by name; one that is nowhere is refused.

    Raises
    ------
    UnknownFeatureError
        A read of such a version would return nothing for ever, without a word.
    """
    known = {(f.feature_name, f.feature_version): f for f in registered_features(database)}
    for name, version in versions.items():
        if (name, version) not in known:
            held = ", ".join(f"{n}@{v}" for n, v in sorted(known) if n == name)
            raise UnknownFeatureError(
                f"feature {name}@{version} is not in the store, which holds {held or 'none'} of "
                f"that name; write it first or ask for one of these"
            )
    return {name: known[name, version] for name, version in versions.items()}


def age_limits(
    registered: Mapping[str, RegisteredFeature], max_ages: Mapping[str, int]
) -> dict[str, AgeLimit]:
    """Return the limits of features of which an age is given, each beyond the feature's lag."""
    return {
        name: AgeLimit(max_ages[name], feature.availability_lag)
        for name, feature in registered.items()
        if name in max_ages
    }


def missing_allowed(database: Database) -> set[tuple[str, int]]:
    """Return the features, by name and version, whose values may be known to be missing."""
    return {
        (registered.feature_name, registered.feature_version)
        for registered in registered_features(database)
        if registered.allows_missing
    }
