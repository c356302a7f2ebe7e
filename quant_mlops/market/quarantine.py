"""The file that keeps rejected and flagged rows of a price file for whoever mends it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from quant_mlops.market.price_files import PriceBatch


def write_quarantine(batch: PriceBatch, folder: str | Path) -> Path | None:
    """Write rejected rows, then flagged ones, to one CSV file in a folder.

    The name comes from the source file's name and digest, so that reading the same file again
    replaces its report and never adds one. Readers see the old file or the new one, whole.

    Parameters
    ----------
    batch : PriceBatch
        What a price file held.
    folder : str or Path
        Made if it does not exist.

    Returns
    -------
    Path or None
        The file, or None when no row was rejected or flagged.

    """
    if batch.rejected.num_rows + batch.flagged.num_rows == 0:
        return None
    report = pa.concat_tables(
        [_with_outcome(batch.rejected, "rejected"), _with_outcome(batch.flagged, "flagged")]
    )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{batch.source}.{batch.sha256[:12]}.quarantine.csv"
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".quarantine-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            pa.csv.write_csv(report, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _with_outcome(report: pa.Table, outcome: str) -> pa.Table:
    return report.add_column(0, "outcome", pa.repeat(outcome, report.num_rows))
