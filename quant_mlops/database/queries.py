"""Statements by name, from the `sql/` folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import LiteralString

from quant_mlops.errors import DatabaseError

_INSTALLED = Path(__file__).parents[1] / "sql"
_CHECKOUT = Path(__file__).parents[2] / "sql"


@cache
def sql_folder() -> Path:
    """Return the folder of statements: inside an installed package, else of the checkout."""
    for folder in (_INSTALLED, _CHECKOUT):
        if (folder / "migrations").is_dir():
            return folder
    raise DatabaseError(f"no sql folder at {_INSTALLED} or {_CHECKOUT}; reinstall quant_mlops")


@cache
def query(name: str) -> LiteralString:
    """Return the statement in `sql/<name>.sql`.

    The text comes from a file of the package and never from a caller, hence the literal type
    that psycopg asks of statements; values are always bound.
    """
    path = sql_folder() / f"{name}.sql"
    if not path.is_file():
        raise DatabaseError(f"there is no statement named {name!r} in {sql_folder()}")
    return path.read_text("utf-8")
