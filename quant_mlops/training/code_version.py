"""Which code is running: its git commit where it is a checkout, else the package's version."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("numpy", "scipy", "pandas", "pyarrow", "xgboost-cpu", "psycopg", "dagster")
PACKAGE = "quant-mlops"


@dataclass(frozen=True)
class CodeVersion:
    """A commit and whether the tree differed from it, or a package version."""

    label: str
    dirty: bool

    def describe(self) -> str:
        """Return it in words, with whether the tree differed."""
        return f"{self.label} with changes that are not committed" if self.dirty else self.label


@cache
def code_version() -> CodeVersion:
    """Return the version of the running code, looked up once a process."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return CodeVersion(f"{PACKAGE} {_installed(PACKAGE)}", dirty=False)
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return CodeVersion(f"git {commit}", dirty=bool(changed))


def has_commit(commit: str) -> bool:
    """Tell whether the checkout that is running has a commit."""
    return _git("cat-file", "-e", f"{commit}^{{commit}}") is not None


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version()} | {name: _installed(name) for name in LIBRARIES}


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
