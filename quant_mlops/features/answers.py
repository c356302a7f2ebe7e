"""The answers to a spine's questions as they are found, and the columns that they become."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Positions = npt.NDArray[np.intp]


class Answers:
    """A value for each row and feature, absent until it is given.

    Parameters
    ----------
    rows : int
        Length of the spine.
    names : iterable of str
    """

    def __init__(self, rows: int, names: Iterable[str]) -> None:
        self._numbers = {name: np.full(rows, np.nan) for name in names}
        self._documents: dict[str, dict[int, str]] = {}

    def give_numbers(self, name: str, rows: Positions, values: npt.NDArray[np.float64]) -> None:
        """Give a feature's numbers for rows; NaN where nothing was known."""
        self._numbers[name][rows] = values

    def give_documents(
        self, name: str, rows: Sequence[int], documents: Sequence[str | None]
    ) -> None:
        """Give a feature's values for rows as JSON text, numbers among them; None for nothing."""
        given = self._documents.setdefault(name, {})
        given.update(
            (row, text) for row, text in zip(rows, documents, strict=True) if text is not None
        )

    def columns(self, *, numbers_only: bool = False) -> Iterator[tuple[str, pa.Array]]:
        """Yield the features with their columns, of doubles or of JSON text.

        With `numbers_only` all are doubles, null where there is a document.
        """
        for name, numbers in self._numbers.items():
            documents = None if numbers_only else self._documents.get(name)
            if not documents:
                yield name, pa.array(numbers, mask=np.isnan(numbers))
                continue
            text = [None if np.isnan(n) else json.dumps(n) for n in numbers.tolist()]
            for row, document in documents.items():
                text[row] = document
            yield name, pa.array(text, pa.string())
