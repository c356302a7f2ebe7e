"""Every error the package raises on purpose, in one tree.

QuantMlopsError
|__SettingsError                 a setting is missing, unknown or contradicts another
|__StorageError                  a training set or an artifact cannot be kept or fetched there
|  |__MissingFileError           there is nothing at a location
|__DatabaseError
|  |__ServerUnavailableError     the database cannot be started or reached
|  |__MigrationError             the schema cannot be brought to this version
|  |  |__EditedMigrationError    a migration that was already applied has changed since
|  |__TimescaleUnavailableError  what was asked for needs TimescaleDB
|__MarketDataError
|  |__PriceFileError             a price file cannot be read as prices
|  |__MembershipFileError        a file cannot be read as spells of membership in an index
|  |__NotASessionError           a date is not a session of the exchange
|     |__NoPartitionError         a run was started for no session, or for one it cannot work on
|__FeatureStoreError
|  |__ConflictingValueError      two values for one key and one ingest time
|  |__InvalidValueError          NaN, infinity or a type the store does not hold
|  |__AmbiguousTimeError         a wall time that does not exist, or exists twice
|  |__UnknownFeatureError        no definition of that name or version
|  |__FeatureLogicChangedError   other logic under a version that is already stored
|  |__LookAheadError             a definition or a feature that knows what it must not
|__TrainingError
|  |__EmptySnapshotError         no spine row is left to learn from
|  |__SnapshotTamperedError      a snapshot's file no longer matches its manifest
|__RegistryError
|  |__ModelNotFoundError
|  |__VersionTakenError
|  |__ModelInUseError            a version that is, or was, live cannot be deleted
|  |__ArtifactError
|  |  |__ChecksumMismatchError   stored bytes do not have the digest they were filed under
|  |  |__UnsafeArtifactError     a format that runs code when it is loaded
|  |__PromotionConflictError     the live version was not the one the caller expected
|__PredictionError               a prediction cannot be made, stored or found
|__MonitoringError
|  |__ChannelError              an alert channel did not take an alert
|__StrategyError                 a strategy's file is missing, malformed or inconsistent
"""

from __future__ import annotations


class QuantMlopsError(Exception):
    """Base of all errors raised on purpose; its message is one sentence fit for a person."""


class SettingsError(QuantMlopsError):
    """A setting is missing, unknown or contradicts another."""


class StorageError(QuantMlopsError):
    """A folder of training sets or artifacts cannot be read or written."""


class MissingFileError(StorageError):
    """There is nothing at a location."""


class DatabaseError(QuantMlopsError):
    """The database refused or could not do something."""


class ServerUnavailableError(DatabaseError):
    """The database cannot be started or reached."""


class MigrationError(DatabaseError):
    """The schema cannot be brought to this version of the package."""


class EditedMigrationError(MigrationError):
    """A migration that was already applied has changed since."""


class TimescaleUnavailableError(DatabaseError):
    """What was asked for needs TimescaleDB, and the database does not have it."""


class MarketDataError(QuantMlopsError):
    """Prices or sessions are not what was asked for."""


class PriceFileError(MarketDataError):
    """A price file cannot be read as prices."""


class MembershipFileError(MarketDataError):
    """A file cannot be read as spells of membership in an index."""


class NotASessionError(MarketDataError):
    """A date is not a session of the exchange."""


class NoPartitionError(NotASessionError):
    """A run was started without a session, or for a day that is none of its strategy's."""


class FeatureStoreError(QuantMlopsError):
    """The feature store refused a read or a write."""


class ConflictingValueError(FeatureStoreError):
    """Two different values were given for one key and one ingest time."""


class InvalidValueError(FeatureStoreError):
    """A value is NaN, infinite, or of a type the store does not hold."""


class AmbiguousTimeError(FeatureStoreError):
    """A wall time does not exist, or exists twice, in the market's zone."""


class UnknownFeatureError(FeatureStoreError):
    """No definition of that name or version is known."""


class FeatureLogicChangedError(FeatureStoreError):
    """A definition's logic differs from what is stored under the same version."""


class LookAheadError(FeatureStoreError):
    """A definition reads later sessions or too far back, or a feature knows what lay ahead."""


class TrainingError(QuantMlopsError):
    """A training set or a model could not be built."""


class EmptySnapshotError(TrainingError):
    """No spine row is left to learn from."""


class SnapshotTamperedError(TrainingError):
    """A snapshot's file no longer matches its manifest."""


class RegistryError(QuantMlopsError):
    """The model registry refused an operation."""


class ModelNotFoundError(RegistryError):
    """No such model or version."""


class VersionTakenError(RegistryError):
    """A model version with that number exists already."""


class ModelInUseError(RegistryError):
    """A version that is, or was, live cannot be deleted."""


class ArtifactError(RegistryError):
    """An artifact could not be stored or loaded."""


class ChecksumMismatchError(ArtifactError):
    """Stored bytes do not have the digest they were filed under."""


class UnsafeArtifactError(ArtifactError):
    """The artifact's format runs code when it is loaded."""


class PromotionConflictError(RegistryError):
    """The live version was not the one the caller expected."""


class PredictionError(QuantMlopsError):
    """A prediction cannot be made, stored or found."""


class MonitoringError(QuantMlopsError):
    """Metrics, rules or alerts could not be evaluated."""


class ChannelError(MonitoringError):
    """An alert channel did not take an alert; the message holds no secret."""


class ChannelTimeoutError(ChannelError):
    """A channel did not answer in time; whatever else it is sent will probably wait as long."""


class StrategyError(QuantMlopsError):
    """A strategy's file is missing, malformed or inconsistent."""
