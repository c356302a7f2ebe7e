"""The bundled sample: twenty large US stocks, adjusted closes, 1990-01-02 to 2022-12-28."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path


@contextmanager
def sample_prices() -> Iterator[Path]:
    """Give the path of the sample as a long Parquet file, for as long as the block runs.

    The stocks were chosen with hindsight, so results on them show that the software runs and
    say nothing about how a strategy would have done.

    Yields
    ------
    Path
        A price file of date, ticker and close, with `LICENSE` and `SOURCE.md` beside it in the
        package.

    """
    with as_file(files("quant_mlops.market") / "sample" / "prices.parquet") as path:
        yield path
