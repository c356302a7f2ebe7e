"""Connections, the embedded server, migrations and query files."""

from quant_mlops.database.connection import Database

__all__ = ["Database"]
