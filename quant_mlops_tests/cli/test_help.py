"""Every command explains itself with an example, and wrong usage is status 2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click
import pytest

from quant_mlops.cli.command_table import TABLE
from quant_mlops.cli.main import cli

WITHOUT_JSON = {"dev"}


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))


ALL = sorted(commands(cli))


def leaf(path: tuple[str, ...]) -> click.Command | None:
    found: click.Command = cli
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return None if isinstance(found, click.Group) else found


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_says_what_it_does_and_gives_an_example(path: tuple[str, ...], shell: Any) -> None:
    found = shell(*path, "--help")
    assert found.status == 0
    usage, what, *_ = [line.strip() for line in found.stdout.splitlines() if line.strip()]
    assert usage.startswith("Usage: quant-mlops " + " ".join(path))
    assert what[0].isupper()
    assert re.search(rf"Example: quant-mlops {' '.join(path)}".strip(), found.stdout)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    command = leaf(path)
    for parameter in command.params if command else []:
        if isinstance(parameter, click.Option):
            assert parameter.help or isinstance(parameter.type, click.Choice), parameter.name


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_that_ends_has_json(path: tuple[str, ...]) -> None:
    command = leaf(path)
    if command is not None and path[0] not in WITHOUT_JSON:
        assert any("--json" in parameter.opts for parameter in command.params)


@pytest.mark.parametrize("name", cli.commands)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    assert cli.commands[name].name == name
    assert TABLE[name].summary == cli.commands[name].get_short_help_str(limit=200)


def test_the_list_of_commands_has_a_line_for_each(shell: Any) -> None:
    text = " ".join(shell("--help").stdout.split())
    for name in cli.commands:
        assert f"{name} {TABLE[name].summary}" in text


def test_the_list_of_commands_waits_for_no_library(start_python: Any) -> None:
    process = start_python(
        "import sys\n"
        "from quant_mlops.cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    listed, loaded = process.communicate(timeout=60)
    assert "alerts" in listed
    assert "click" in loaded.split()
    assert not {"numpy", "pyarrow", "psycopg", "pydantic", "dagster"} & set(loaded.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["models", "nonsense"],
        ["models", "promote", "small_ridge"],
        ["features", "latest"],
        ["drift", "run", "--session", "30.06.2022"],
        ["features", "latest", "AAPL", "--as-of", "yesterday"],
        ["alerts", "list", "--last", "0"],
        ["alerts", "list", "--last", "many"],
        ["features", "latest", "AAPL", "--as-of", "2022-03-13T02:30"],
        ["features", "latest", "AAPL", "--as-of", "2022-11-06T01:30"],
        ["features", "latest", "AAPL", "--as-of", "0001-01-01T00:00+01:00"],
        ["features", "backfill", "--first", "2022-02-02", "--last", "2022-02-01"],
        ["demo", "--calendar", "XLON"],
        ["snapshot", "verify", "not-a-uuid"],
        ["snapshot", "show", "2769271"],
        ["snapshot", "show", "2769271x"],
        ["snapshot", "build", "--as-of", "2999-01-01"],
        ["ingest", "prices", "some.csv", "--lag-minutes", "-5"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(arguments: list[str], shell: Any) -> None:
    found = shell(*arguments)
    assert found.status == 2
    assert found.stdout == ""
    assert "Error: " in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("moment", "problem"),
    [("2022-03-13T02:30", "does not exist"), ("2022-11-06T01:30", "exists twice")],
)
def test_a_wall_time_that_clocks_skip_or_repeat_is_explained(
    moment: str, problem: str, shell: Any
) -> None:
    found = shell("snapshot", "build", "--as-of", moment)
    assert f"wall time in America/New_York and {problem} there" in " ".join(found.stderr.split())


def test_help_says_in_which_zone_a_time_is_read(shell: Any) -> None:
    for command in (("features", "latest"), ("features", "history"), ("snapshot", "build")):
        text = " ".join(shell(*command, "--help").stdout.split())
        assert "wall time in New York unless it has a zone" in text


def test_the_version_is_one_line(shell: Any) -> None:
    found = shell("--version")
    assert found.status == 0
    assert re.fullmatch(r"quant-mlops, version \d+\.\d+\.\d+\n", found.stdout)
