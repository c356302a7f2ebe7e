"""A price file's bytes as columns, and every reason to refuse the file as a whole."""

from __future__ import annotations

import csv
import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from quant_mlops.errors import PriceFileError

ENDINGS = (".csv", ".csv.gz", ".parquet")
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
ALLOWED = f"allowed are {', '.join(ENDINGS[:-1])} and {ENDINGS[-1]}"


@dataclass(frozen=True)
class SourceTable:
    """The rows of one file before any of them is judged.

    Attributes
    ----------
    name, sha256 : str
        The file's name without folders, and the digest of its bytes.
    columns : pyarrow.Table
        Every column as text for CSV, as typed for Parquet.
    row_number : int64 array
        1-based number of each row among the file's data rows, blank and broken ones included;
        in CSV the line is one further down.
    broken : tuple of (int, str)
        Number and text of lines that do not have the header's number of cells.
    notes : tuple of str
        What a reader should know about how the file was read.

    """

    name: str
    sha256: str
    columns: pa.Table
    row_number: NDArray[np.int64]
    broken: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]


def read_source(path: Path) -> SourceTable:
    """Read a file once, so that the digest is of the very bytes that were parsed.

    Raises
    ------
    PriceFileError
        The file is missing, empty, of another kind than its name says, or not parsable.

    """
    name = path.name
    ending = _ending(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PriceFileError(f"{name} cannot be read: {error.strerror}; check the file") from None
    if not data:
        raise PriceFileError(f"{name} is empty (0 bytes); export it again or check the download")
    digest = hashlib.sha256(data).hexdigest()
    if ending == ".parquet":
        return _from_parquet(name, digest, data)
    if ending == ".csv.gz":
        data = _decompressed(name, data)
    return _from_csv(name, digest, data)


def _ending(path: Path) -> str:
    if path.is_dir():
        raise PriceFileError(f"{path} is a folder; name one file ({ALLOWED})")
    if not path.exists():
        raise PriceFileError(f"there is no file {path}; check the name and the working directory")
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return ending
    raise PriceFileError(
        f"{path.name} has {f'the ending {path.suffix}' if path.suffix else 'no ending'}, so how to "
        f"read it is not known; {ALLOWED}: export it as one of them"
    )


def _from_parquet(name: str, digest: str, data: bytes) -> SourceTable:
    if data[:4] != b"PAR1":
        kind = "gzip data" if data[:2] == b"\x1f\x8b" else "text or something else"
        raise PriceFileError(
            f"{name} is named .parquet but does not begin like one, so it holds {kind}; "
            "give it the ending of what it is, or export it as Parquet"
        )
    try:
        table = pa.parquet.read_table(pa.BufferReader(data)).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise PriceFileError(
            f"{name} was read as Parquet and is damaged: {_first_line(error)}; copy or export it "
            "again"
        ) from None
    _refuse_no_rows(name, table.num_rows)
    numbers = np.arange(1, table.num_rows + 1, dtype=np.int64)
    return SourceTable(name, digest, table, numbers, (), ())


def _decompressed(name: str, data: bytes) -> bytes:
    try:
        content = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise PriceFileError(
            f"{name} is named .gz and could not be decompressed: {_first_line(error)}; copy it "
            "again, or drop .gz from its name if it is plain text"
        ) from None
    if not content:
        raise PriceFileError(f"{name} is empty once decompressed; export it again")
    return content


def _from_csv(name: str, digest: str, data: bytes) -> SourceTable:
    _refuse_not_text(name, data)
    _refuse_open_quotes(name, data)
    header, delimiter = _header(name, data)
    if data.find(b"\n") in (-1, len(data) - 1):
        _refuse_no_rows(name, 0)
    labels = [f"c{i}" for i in range(len(header))]
    broken: list[tuple[int, str]] = []

    def keep(row: pa.csv.InvalidRow) -> str:
        broken.append((row.number - 1, row.text))
        return "skip"

    try:
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            # Row numbers of broken lines are known to a single thread only.
            read_options=pa.csv.ReadOptions(column_names=labels, skip_rows=1, use_threads=False),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=keep
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(labels, pa.string()), strings_can_be_null=False
            ),
        ).combine_chunks()
    except pa.ArrowInvalid as error:
        raise PriceFileError(
            f"{name} was read as CSV and is not: {_first_line(error)}; save it as CSV in UTF-8"
        ) from None
    numbers = np.setdiff1d(
        np.arange(1, table.num_rows + len(broken) + 1), [number for number, _ in broken]
    )
    blank = _blank_rows(table)
    table, numbers = table.filter(pa.array(~blank)), numbers[~blank]
    filled = tuple((number, text) for number, text in broken if text.strip())
    _refuse_no_rows(name, table.num_rows + len(filled))
    notes = []
    if delimiter != ",":
        notes.append(f"Cells are separated by {DELIMITERS[delimiter]}.")
    empty = int(blank.sum()) + len(broken) - len(filled)
    if empty:
        notes.append(f"Blank lines passed over: {empty:,}.")
    columns = table.rename_columns(header)
    return SourceTable(name, digest, columns, numbers, filled, tuple(notes))


def _header(name: str, data: bytes) -> tuple[list[str], str]:
    end = data.find(b"\n")
    line = data[: end if end >= 0 else len(data)].decode("utf-8-sig").strip("\r")
    if not line.strip():
        raise PriceFileError(f"{name} begins with a blank line; put the column names on line 1")
    delimiter = "," if "," in line else max(DELIMITERS, key=line.count)
    if delimiter not in line:
        delimiter = ","
    header = next(csv.reader([line], delimiter=delimiter))
    return [cell.strip() for cell in header], delimiter


def _refuse_not_text(name: str, data: bytes) -> None:
    if data[:4] == b"PAR1" or data[:2] == b"\x1f\x8b":
        ending = ".parquet" if data[:4] == b"PAR1" else ".csv.gz"
        raise PriceFileError(f"{name} holds {ending} data; give it the ending {ending}")
    try:
        if b"\0" in data[:4096]:
            raise PriceFileError(
                f"{name} is named as CSV and is not UTF-8 text; save it as CSV in UTF-8"
            )
        data[:65536].rsplit(b"\n", 1)[0].decode("utf-8")
    except UnicodeDecodeError as error:
        raise PriceFileError(
            f"{name} was read as UTF-8 and byte {error.start:,} is not; save it as CSV in UTF-8"
        ) from None


def _refuse_open_quotes(name: str, data: bytes) -> None:
    """Refuse a quotation mark that a line opens and does not close: it would swallow rows."""
    if b'"' not in data:
        return
    content = np.frombuffer(data, dtype=np.uint8)
    quotes = np.flatnonzero(content == ord('"'))
    ends = np.append(np.flatnonzero(content == ord("\n")), len(content))
    odd = np.flatnonzero(np.searchsorted(quotes, ends) % 2)
    if len(odd):
        raise PriceFileError(
            f"{name} opens a quotation mark on line {odd[0] + 1} and does not close it there, so "
            "where its cells end is not certain; correct that line"
        )


def _blank_rows(table: pa.Table) -> NDArray[np.bool_]:
    blank = np.ones(table.num_rows, dtype=np.bool_)
    for column in table.columns:
        empty = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(column)), 0)
        blank &= empty.to_numpy()
        if not blank.any():
            break
    return blank


def _refuse_no_rows(name: str, rows: int) -> None:
    if rows == 0:
        raise PriceFileError(f"{name} has column names and no rows; export it again with its rows")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
