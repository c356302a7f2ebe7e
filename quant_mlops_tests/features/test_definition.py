from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from quant_mlops.database import Database
from quant_mlops.errors import FeatureLogicChangedError, FeatureStoreError, UnknownFeatureError
from quant_mlops.features import FeatureStore, builtin, feature
from quant_mlops.features.catalog import register_definitions, registered_features
from quant_mlops.features.definition import definitions_in, select_definitions

MODULE = '''
"""A user's module of features."""
import functools
from datetime import timedelta

import numpy as np

from quant_mlops.features import feature
from {package} import tools

SPAN = 5
SPANS = (5, 20)
WEIGHTS = {{"fast": [0.7, 0.3]}}


@feature("mine", lookback=20, availability_lag=timedelta(minutes=5))
def mine(panel):
    """Say what it is."""
    # Say why.
    slow = helper(panel.close, SPANS[1]) * WEIGHTS["fast"][0]
    return slow - helper(panel.close, SPAN) + tools.shift(panel.close) + cached()


def helper(values, span):
    def inner(x):
        """Inner words."""
        return x / span
    return inner(values)


@functools.cache
def cached():
    return 3.0


def unused():
    return 1
'''
TOOLS = """
def shift(values):
    return values - OFFSET


OFFSET = 1.5
"""
fresh_names = itertools.count()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give a function that imports the module above with some of its text replaced."""
    monkeypatch.syspath_prepend(tmp_path)

    def build(old: str = "", new: str = "", *, everywhere: bool = False) -> ModuleType:
        package = f"user_features_{next(fresh_names)}"
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        texts = {"tools": TOOLS, "own": MODULE.format(package=package)}
        assert any(old in text for text in texts.values())
        for name, text in texts.items():
            (folder / f"{name}.py").write_text(text.replace(old, new) if old else text)
        importlib.invalidate_caches()
        return importlib.import_module(f"{package}.own")

    return build


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Say why.", "# Say something else\n    # in two lines."),
        ('"""Say what it is."""', '"""Other words."""'),
        ('    """Say what it is."""\n', ""),
        ('"""Inner words."""', '"""Others."""'),
        (
            "def helper(values, span):",
            "def helper(values: float, span: int = 1) -> float:".replace(" = 1", ""),
        ),
        ("SPANS[1]) * WEIGHTS", "SPANS[1])     *   WEIGHTS"),
        ("    return 1\n", "    return 2\n"),
        ("SPAN = 5\n", "SPAN = 5  # sessions\nOTHER = 6\n"),
    ],
)
def test_what_does_not_decide_values_does_not_change_the_hash(load, old: str, new: str) -> None:
    assert load(old, new).mine.logic_hash == load().mine.logic_hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x / span", "x / (span + 1)"),
        ("SPAN = 5", "SPAN = 6"),
        ("SPAN = 5", "SPAN = 5.0"),
        ("SPANS = (5, 20)", "SPANS = (5, 21)"),
        ("[0.7, 0.3]", "[0.8, 0.3]"),
        ("return 3.0", "return 4.0"),
        ("values - OFFSET", "values + OFFSET"),
        ("OFFSET = 1.5", "OFFSET = 2.5"),
        ("slow - helper", "slow + helper"),
        ("lookback=20", "lookback=21"),
        ("minutes=5", "minutes=6"),
        ("lookback=20,", 'lookback=20, fields=("close", "volume"),'),
    ],
)
def test_what_decides_values_changes_the_hash(load, old: str, new: str) -> None:
    assert load(old, new).mine.logic_hash != load().mine.logic_hash


def test_a_window_held_by_a_closure_is_part_of_the_logic() -> None:
    def make(window: int):
        @feature("closed_over", lookback=30)
        def closed_over(panel):
            return panel.close / window

        return closed_over

    assert make(5).logic_hash == make(5).logic_hash
    assert make(5).logic_hash != make(6).logic_hash


def test_a_constant_or_code_replaced_under_a_definition_changes_its_hash(load) -> None:
    module, other = load(), load("x / span", "x * span")
    first = module.mine.logic_hash
    assert module.mine.logic_hash == first
    module.tools.OFFSET = 2.5
    moved = module.mine.logic_hash
    assert moved == load("OFFSET = 1.5", "OFFSET = 2.5").mine.logic_hash != first
    module.tools.OFFSET = 1.5
    assert module.mine.logic_hash == first
    module.helper.__code__ = other.helper.__code__
    assert module.mine.logic_hash == other.mine.logic_hash != first


def test_hashes_are_the_same_in_another_process() -> None:
    code = (
        "from quant_mlops.features import builtin\n"
        "from quant_mlops.features.definition import definitions_in\n"
        "for d in definitions_in(builtin).values(): print(d.key, d.logic_hash)\n"
    )
    root = Path(builtin.__file__).parents[2]
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    ).stdout
    here = {d.key: d.logic_hash for d in definitions_in(builtin).values()}
    assert dict(line.split() for line in output.splitlines()) == here
    assert len(set(here.values())) == len(here)


def test_changed_logic_under_a_stored_version_is_refused(database: Database, load) -> None:
    first, changed = load().mine, load("x / span", "x * span").mine
    register_definitions(database, [first])
    register_definitions(database, [first])
    with pytest.raises(FeatureLogicChangedError, match=r"mine@1 is stored with logic .* mine@2"):
        register_definitions(database, [builtin.ret_5d, changed])
    (stored,) = registered_features(database)
    assert (stored.key, stored.logic_hash) == ("mine@1", first.logic_hash)
    assert (stored.lookback, stored.availability_lag) == (20, timedelta(minutes=5))
    assert stored.description == "Say what it is."


def test_the_first_declaration_of_values_written_before_it_counts(
    store: FeatureStore, at, load
) -> None:
    store.write_features("A", at(0), {"mine": 1.0})
    assert [f.logic_hash for f in registered_features(store.database)] == [""]
    definition = load().mine
    register_definitions(store.database, [definition])
    (stored,) = registered_features(store.database)
    assert (stored.logic_hash, stored.lookback) == (definition.logic_hash, 20)


def test_the_newest_version_of_a_module_is_taken_and_an_unknown_name_refused() -> None:
    module = ModuleType("features_of_a_user")
    module.old, module.new = (
        feature("f", n, lookback=0)(lambda panel: panel.close) for n in (9, 10)
    )
    available = definitions_in(module)
    assert available == {"f": module.new}
    assert select_definitions(available, ["f"]) == (module.new,)
    with pytest.raises(UnknownFeatureError, match="no definition of feature 'g'; defined are f"):
        select_definitions(available, ["g"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"lookback": -1},
        {"lookback": 1, "fields": ("cloze",)},
        {"lookback": 1, "version": 0},
        {"lookback": 1, "availability_lag": timedelta(-1)},
    ],
)
def test_a_definition_that_cannot_be_right_is_refused(arguments) -> None:
    with pytest.raises(FeatureStoreError, match="nothing may be negative, and fields are open"):
        feature("f", **arguments)
