"""Fitting a model again in a process of its own: `python -m quant_mlops.training.refit FOLDER`."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from quant_mlops.errors import TrainingError
from quant_mlops.training.fitting import fit_model, load_model
from quant_mlops.training.matrices import training_rows
from quant_mlops.training.recipe import CONFIG, Recipe, read_recipe

DATA, METRICS, SIGNALS, ARTIFACTS = "data.parquet", "metrics.json", "signals.npy", "artifacts"
# What a caller's shell sets for its own work must not decide how a model comes out.
DROPPED = ("QUANT_MLOPS_", "DAGSTER_", "PYTEST_")


@dataclass(frozen=True)
class RefittedModel:
    """What fitting again gave.

    Attributes
    ----------
    artifacts : dict of str to bytes
        By file name, the recipe left out.
    metrics : dict of str to dict
        By data set; NaN where one cannot be computed.
    signals : ndarray of float64, shape (R,)
        For each row of the training set, all splits.
    """

    artifacts: dict[str, bytes]
    metrics: dict[str, dict[str, float]]
    signals: npt.NDArray[np.float64]


def refit_in_clean_process(data: Path, recipe: Recipe) -> RefittedModel:
    """Fit a recipe to a training set in a new process, which shares nothing with this one.

    Parameters
    ----------
    data : Path
        Parquet file of the training set.
    recipe : Recipe

    Raises
    ------
    TrainingError
        The process failed; its last words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="quant-mlops-") as name:
        folder = Path(name)
        (folder / DATA).symlink_to(data.absolute())
        (folder / CONFIG).write_bytes(recipe.to_bytes())
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(DROPPED)
        }
        environment["PYTHONHASHSEED"] = "0"
        # Modules of the user's own must be found as they are here.
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(
            [sys.executable, "-m", "quant_mlops.training.refit", name],
            capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            words = done.stderr.strip().splitlines() or ["no message"]
            raise TrainingError(
                f"fitting again failed with status {done.returncode}: {words[-1][:500]}"
            )
        return _read(folder)


def refit(folder: Path) -> None:
    """Fit the recipe of a folder to its training set, and write what came of it beside them."""
    recipe = read_recipe((folder / CONFIG).read_bytes())
    table: pa.Table = pq.read_table(folder.joinpath(DATA).resolve())
    trained = fit_model(table, recipe)
    artifacts = {name: data for name, data in trained.artifacts.items() if name != CONFIG}
    (folder / ARTIFACTS).mkdir()
    for name, data in artifacts.items():
        (folder / ARTIFACTS / name).write_bytes(data)
    signals = load_model(recipe, artifacts).predict(training_rows(table, recipe.features).features)
    np.save(folder / SIGNALS, signals, allow_pickle=False)
    # JSON has no NaN.
    metrics = {
        dataset: {k: None if math.isnan(v) else v for k, v in found.items()}
        for dataset, found in trained.metrics.items()
    }
    (folder / METRICS).write_text(json.dumps(metrics), "utf-8")


def _read(folder: Path) -> RefittedModel:
    metrics = json.loads((folder / METRICS).read_text("utf-8"))
    return RefittedModel(
        artifacts={path.name: path.read_bytes() for path in (folder / ARTIFACTS).iterdir()},
        metrics={
            dataset: {k: math.nan if v is None else v for k, v in found.items()}
            for dataset, found in metrics.items()
        },
        signals=np.load(folder / SIGNALS, allow_pickle=False),
    )


if __name__ == "__main__":
    refit(Path(sys.argv[1]))
