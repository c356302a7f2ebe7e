"""The folder of strategy files: a defect in one of them leaves the others as they are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from quant_mlops.errors import StrategyError
from quant_mlops.settings import Settings
from quant_mlops.strategy import Strategy, read_strategy


@dataclass(frozen=True)
class StrategyProblem:
    """A file of the folder that gives no strategy.

    Attributes
    ----------
    file : Path
    message : str
        What is wrong with which key, and what to do.
    """

    file: Path
    message: str


@dataclass(frozen=True)
class StrategyFolder:
    """What the files of a folder give: each one a strategy, or a problem.

    Attributes
    ----------
    strategies : dict of str to Strategy
        By name, in the order of their files.
    files : dict of str to Path
        File of each strategy.
    problems : tuple of StrategyProblem
    """

    folder: Path
    strategies: dict[str, Strategy]
    files: dict[str, Path]
    problems: tuple[StrategyProblem, ...]


def strategies_folder(settings: Settings) -> Path:
    """Return the folder of strategy files: the settings', the home's, or the bundled one."""
    if settings.strategies is not None:
        return settings.strategies
    own = settings.home / "strategies"
    if own.is_dir() and any(own.glob("*.toml")):
        return own
    return Path(str(files("quant_mlops"))) / "strategies"


def read_strategies(settings: Settings) -> StrategyFolder:
    """Read every file of the folder; what is wrong with one is returned beside the good ones.

    Files that give their strategies the same name are all refused: the tables could not tell
    their rows apart.

    Raises
    ------
    StrategyError
        There is no strategy file at all.
    """
    folder = strategies_folder(settings)
    named: defaultdict[str, list[tuple[Path, Strategy]]] = defaultdict(list)
    problems = []
    for path in sorted(folder.glob("*.toml")):
        try:
            strategy = read_strategy(path)
        except StrategyError as error:
            problems.append(StrategyProblem(path, str(error)))
        else:
            named[strategy.name].append((path, strategy))
    if not named and not problems:
        raise StrategyError(f"there is no strategy file (*.toml) in {folder}; put one there")
    for name, found in named.items():
        if len(found) > 1:
            problems += [StrategyProblem(path, _same_name(name, found)) for path, _ in found]
    alone = {name: found[0] for name, found in named.items() if len(found) == 1}
    return StrategyFolder(
        folder,
        {name: strategy for name, (_, strategy) in alone.items()},
        {name: path for name, (path, _) in alone.items()},
        tuple(sorted(problems, key=lambda problem: problem.file)),
    )


def load_strategies(settings: Settings) -> dict[str, Strategy]:
    """Return every strategy of the folder by name, or none if one of its files is wrong.

    Raises
    ------
    StrategyError
        A file is invalid, two share a name, or there is none; the first problem is told.
    """
    found = read_strategies(settings)
    if found.problems:
        raise StrategyError(found.problems[0].message)
    return found.strategies


def _same_name(name: str, found: list[tuple[Path, Strategy]]) -> str:
    both = " and ".join(str(path) for path, _ in found)
    return (
        f"{both}, key name: each names its strategy {name!r}, whose rows could not be told apart; "
        f"give every file a name of its own"
    )
