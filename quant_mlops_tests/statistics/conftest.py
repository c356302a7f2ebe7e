"""Fixed inputs with their answers, kept outside the repository; tests of them skip without it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]
_SECTIONS = {
    "psi_case": "psi",
    "ic_case": "ic",
    "sharpe_case": "sharpe",
    "change_point_case": "change_point",
}


def _reference_folder() -> Path | None:
    candidates = [_REPOSITORY.parent / "shared" / "reference"]
    if data := os.environ.get("QUANT_MLOPS_TEST_DATA"):
        candidates.insert(0, Path(data).resolve().parent / "reference")
    return next((path for path in candidates if (path / "drift_cases.json").is_file()), None)


def _answers() -> dict[str, Any] | None:
    folder = _reference_folder()
    if folder is None:
        return None
    document: dict[str, Any] = json.loads((folder / "drift_cases.json").read_text("utf-8"))
    return document


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of every case in the answer file, so that a new case is data, not code."""
    answers = _answers()
    for fixture, section in _SECTIONS.items():
        if fixture not in metafunc.fixturenames:
            continue
        if answers is None:
            absent = pytest.mark.skip(reason="the reference folder with drift_cases.json is absent")
            metafunc.parametrize(fixture, [pytest.param(None, marks=absent, id="absent")])
        else:
            metafunc.parametrize(fixture, answers[section].items(), ids=list(answers[section]))


@pytest.fixture(scope="session")
def answers() -> Mapping[str, Any]:
    document = _answers()
    if document is None:
        pytest.skip("the reference folder with drift_cases.json is absent")
    return document


@pytest.fixture(scope="session")
def arrays() -> Callable[[str], np.ndarray]:
    folder = _reference_folder()
    if folder is None:
        pytest.skip("the reference folder with drift_cases.npz is absent")
    with np.load(folder / "drift_cases.npz", allow_pickle=False) as stored:
        loaded = {name: stored[name] for name in stored.files}
    return loaded.__getitem__
