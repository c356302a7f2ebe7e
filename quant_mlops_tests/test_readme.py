"""The README's blocks run, its commands exist, and the files it names are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from quant_mlops.cli.main import cli
from quant_mlops.errors import TrainingError
from quant_mlops.settings import Settings, load_settings
from quant_mlops.strategy import read_strategy
from quant_mlops.training.walk_forward import walk_forward

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
DOCUMENTS = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/orchestration.md", "docs/scaling.md",
)  # fmt: skip
# Made by running, or a user's own.
NOT_IN_THE_CHECKOUT = re.compile(
    r"^(\.quant_mlops|\.venv|\.env$|postgres|snapshots/|artifacts/|reports/|dagster/|strategies|"
    r"/var/lib|/srv/|/etc/|quant_mlops\.toml|my_)|[<*]|://|\bNNN_|\bverb_"
)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def command_paths(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from command_paths(below, *path, name)
    else:
        yield path


COMMANDS = set(command_paths(cli))


# Commands one after another as the command line reads them, without importing all anew for each;
# what lies between them is the shell's.
IN_ONE_PROCESS = """
import os, shlex, subprocess, sys
from quant_mlops.cli.main import main
before = dict(os.environ)
for block in sys.argv[1:]:
    between = []
    for line in [*block.splitlines(), "quant-mlops --help"]:
        if not line.startswith("quant-mlops "):
            between.append(line)
            continue
        subprocess.run(["sh", "-euc", "\\n".join(between)], check=True)
        between.clear()
        print("$", line, file=sys.stderr)
        os.environ.clear()
        os.environ.update(before)
        try:
            main(shlex.split(line)[1:])
        except SystemExit as end:
            if end.code:
                raise
"""


@dataclass(frozen=True)
class Workplace:
    """A folder in which the demonstration ran, what it printed, and how to run commands there."""

    folder: Path
    environment: dict[str, str]
    printed: str


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, reachable: Any) -> Iterator[Workplace]:
    with reachable() as folder:
        yield from work_in(folder, tmp_path_factory.mktemp("programs"))


def work_in(folder: Path, programs: Path) -> Iterator[Workplace]:
    wrapper = programs / "quant-mlops"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m quant_mlops "$@"\n')
    wrapper.chmod(0o755)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("QUANT_MLOPS_", "DAGSTER_"))
    }
    environment["PATH"] = os.pathsep.join([str(programs), environment["PATH"]])
    environment["PYTHONPATH"] = str(REPOSITORY)
    try:
        yield Workplace(folder, environment, run(["quant-mlops", "demo"], folder, environment))
    finally:
        for home in (folder / ".quant_mlops", folder / "scratch"):
            subprocess.run(
                [str(wrapper), "--home", str(home), "db", "stop"],
                env=environment, cwd=folder, capture_output=True, check=False,
            )  # fmt: skip


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command[:3]} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow(seconds=100)
@pytest.mark.timeout(900)
def test_the_demonstration_prints_what_the_readme_shows(workplace: Workplace) -> None:
    shown = re.findall(r"^│.*│$", README, re.MULTILINE)
    assert len(shown) > 10
    printed = {" ".join(line.split()) for line in workplace.printed.splitlines()}
    differs = [line for line in shown if " ".join(line.split()) not in printed]
    assert not differs, workplace.printed


@pytest.mark.slow(seconds=100)
@pytest.mark.timeout(900)
def test_every_block_runs_in_order(workplace: Workplace) -> None:
    folder, environment = workplace.folder, workplace.environment
    assert blocks("sh")
    assert len(blocks("python")) > 4
    # One file: a feature's logic is read from its source.
    notebook = folder / "notebook.py"
    notebook.write_text("\n".join(blocks("python")), "utf-8")
    printed = run([sys.executable, str(notebook)], folder, environment)
    assert "carry 1 ann" in printed
    run([sys.executable, "-c", IN_ONE_PROCESS, *blocks("sh")], folder, environment)


def test_feature_and_strategy_fit_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,) = [block for block in blocks("python") if block.startswith("# my_features.py")]
    source = f"import numpy as np\n\nfrom quant_mlops import feature\n\n{module}"
    (tmp_path / "my_features.py").write_text(source, "utf-8")
    (document,) = blocks("toml")
    (tmp_path / "drawdown.toml").write_text(document, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    strategy = read_strategy(tmp_path / "drawdown.toml")
    assert strategy.feature_versions == {"drawdown_5d": 1, "momentum_20d": 1, "rsi_14": 1}
    (lookback,) = (d.lookback for d in strategy.definitions if d.name == "momentum_20d")
    sys.modules.pop("my_features")
    said = " ".join(README.split())
    match = re.search(
        r"wants (\d+) sessions of prices: (\d+) that the walk-forward evaluation is cut into, "
        r"(\d+) before the first decision .*?, and (\d+) whose labels",
        said,
    )
    assert match is not None
    least, walked, before, without_label = map(int, match.groups())
    assert (before, without_label) == (lookback + 1, strategy.horizon)
    assert least == walked + before + without_label
    days = np.arange(walked).astype("datetime64[D]")
    assert strategy.folds is not None
    assert len(walk_forward(days, strategy.folds, horizon=strategy.horizon)) == 4
    with pytest.raises(TrainingError, match=f"need at least {walked};"):
        walk_forward(days[1:], strategy.folds, horizon=strategy.horizon)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_that_are_mentioned_exist(document: str) -> None:
    text = (REPOSITORY / document).read_text("utf-8")
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(
        r"^```(?:sh|console)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    mentioned = [
        match[1].split() for span in spans for match in re.finditer(r"quant-mlops( .*|$)", span)
    ]
    unknown = [words for words in mentioned if words and not names_a_command(words)]
    assert not unknown, f"{document} mentions {unknown}, which are no commands"


def names_a_command(words: list[str]) -> bool:
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] == "--home" else words[1:]
    return not words or any(path == tuple(words[: len(path)]) for path in COMMANDS)


def test_the_table_has_every_command() -> None:
    listed = re.findall(r"^\| `quant-mlops ([a-z ]+)` \|", README, re.MULTILINE)
    assert sorted(listed) == sorted(" ".join(path) for path in COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str) -> None:
    text = (REPOSITORY / document).read_text("utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    folder = Path(document).parent
    linked = [str(folder / name) for name in re.findall(r"\]\((?!\w+:)([^)#]+)", prose)]
    named = [
        span
        for span in re.findall(r"`([^`\s]+)`", prose)
        if "/" in span.strip("/") or span.endswith((".md", ".toml", ".yaml", ".txt", ".example"))
    ]
    wanted = [name for name in linked + named if not NOT_IN_THE_CHECKOUT.search(name)]
    assert wanted
    missing = [name for name in wanted if not (REPOSITORY / name).exists()]
    assert not missing, f"{document} names {missing}, which are not in the checkout"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_within_a_page_have_a_heading(document: str) -> None:
    text = (REPOSITORY / document).read_text("utf-8")
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_the_example_of_settings_is_valid_and_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = (REPOSITORY / ".env.example").read_text("utf-8")
    lines = re.findall(r"^#((?:QUANT_MLOPS|DAGSTER)_\w+=.*)$", example, re.MULTILINE)
    (tmp_path / ".env").write_text("\n".join(lines), "utf-8")
    for name in list(os.environ):
        if name.startswith(("QUANT_MLOPS_", "DAGSTER_")):
            monkeypatch.delenv(name)
    load_settings(tmp_path)
    named = {line.partition("=")[0] for line in lines}
    assert named == settings_variables()
    missing = [name for name in named if f"`{name}`" not in README]
    assert not missing, f"the README's table lacks {missing}"


def settings_variables() -> set[str]:
    fields = Settings.model_fields
    smtp = fields["smtp"].default
    plain = {f"QUANT_MLOPS_{name.upper()}" for name in fields if name != "smtp"}
    mail = {f"QUANT_MLOPS_SMTP_{name.upper()}" for name in type(smtp).model_fields}
    return (plain - {"QUANT_MLOPS_DAGSTER_PG_URL"}) | {"DAGSTER_PG_URL"} | mail
