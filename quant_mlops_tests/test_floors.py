"""The floor plan, held against the imports as they are written."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "quant_mlops"

# A room may import the rooms to its left, and itself.
ROOMS = [
    "errors",
    "storage",
    "storage_trial",
    "settings",
    "instants",
    "wording",
    "database",
    "market",
    "statistics",
    "features",
    "training",
    "registry",
    "serving",
    "drift",
    "alerts",
    "daily_report",
    "daily",
    "strategy_sections",
    "strategy",
    "strategy_checks",
    "strategy_files",
    "demonstration",
    "healthy_history",
    "strategy_context",
    "pipeline",
    "session_run",
    "pending",
    "snapshot_watch",
    "judged_rules",
    "audits",
    "champion_challenger",
    "retraining",
    "reporting",
    "session_figures",
    "orchestration",
    "definitions",
    "cli",
    "__main__",
]
GROUND = ["errors", "settings", "instants", "wording", "database", "market", "statistics"]
BESIDE = {"market": {"statistics"}, "statistics": {"market"}}
# What a room may import where the order alone does not say it.
ONLY = {
    "errors": [],
    "instants": [],
    "wording": [],
    "storage": ["errors"],
    "storage_trial": ["errors", "storage"],
    "settings": ["errors", "storage"],
    "reports": GROUND,
}
# A report reads tables, and is called from floor 3 on.
REPORTS_FROM = ROOMS.index("strategy")
DAGSTER_ROOMS = {"orchestration", "definitions", "cli", "__main__"}

WITHOUT_DAGSTER = """
import importlib, sys, warnings

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("dagster"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
try:
    import dagster
except ModuleNotFoundError:
    pass
else:
    sys.exit("dagster was not blocked")
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
"""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    """Return the room of a module; the package's own front is named for itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of all that a module imports, wherever it does so."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole_package = source == PACKAGE.name
                yield node.lineno, f"{source}.{alias.name}" if whole_package else source


def allowed(room: str, imported: str) -> bool:
    if room == imported or room == PACKAGE.name:
        return True
    if room in ONLY:
        return imported in ONLY[room]
    position = ROOMS.index(room)
    if imported == "reports":
        return position >= REPORTS_FROM
    return imported in ROOMS[:position] or imported in BESIDE.get(room, ())


def test_every_module_stands_in_a_room_of_the_plan() -> None:
    rooms = {room_of(module_name(path)) for path in modules()}
    assert rooms <= {*ROOMS, "reports", PACKAGE.name}


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_no_import_points_upward(path: Path) -> None:
    room = room_of(module_name(path))
    upward = [
        f"line {line}: {name}"
        for line, name in imports(path)
        if name.split(".")[0] == PACKAGE.name
        and name not in (PACKAGE.name, f"{PACKAGE.name}.__version__")
        and not allowed(room, room_of(name))
    ]
    assert upward == []


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_no_room_imports_the_front_of_the_package(path: Path) -> None:
    """The front offers names of all rooms, so that importing it would import upward."""
    names = {name for _, name in imports(path)} - {f"{PACKAGE.name}.__version__"}
    assert PACKAGE.name not in names
    direct = {name.partition(".")[2] for name in names if name.startswith(f"{PACKAGE.name}.")}
    missing = {name for name in direct if not (PACKAGE / name.partition(".")[0]).is_dir()}
    assert {name for name in missing if not (PACKAGE / f"{name}.py").is_file()} == set()


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_only_the_upper_floors_import_dagster(path: Path) -> None:
    if room_of(module_name(path)) not in DAGSTER_ROOMS:
        assert [n for _, n in imports(path) if n.split(".")[0].startswith("dagster")] == []


def test_the_lower_floors_import_without_dagster() -> None:
    names = [name for name in map(module_name, modules()) if room_of(name) not in DAGSTER_ROOMS]
    assert names
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_DAGSTER, *names],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stderr


@pytest.mark.parametrize(
    ("room", "imported", "right"),
    [
        ("features", "database", True),
        ("database", "features", False),
        ("training", "drift", False),
        ("alerts", "drift", True),
        ("reports", "market", True),
        ("reports", "alerts", False),
        ("alerts", "reports", False),
        ("pipeline", "reports", True),
        ("cli", "orchestration", True),
        ("settings", "database", False),
    ],
)
def test_the_plan_itself_says_what_it_should(room: str, imported: str, right: bool) -> None:
    assert allowed(room, imported) is right
