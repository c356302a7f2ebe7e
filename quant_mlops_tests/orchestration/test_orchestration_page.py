"""The page about Dagster's UI says what the definitions are: automation, checks and pictures."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from pathlib import Path

import dagster as dg
import pytest

from quant_mlops.orchestration.code_location import code_location
from quant_mlops.settings import load_settings

DOCS = Path(__file__).resolve().parents[2] / "docs"
README = (DOCS.parent / "README.md").read_text("utf-8")
PAGE = (DOCS / "orchestration.md").read_text("utf-8")
STARTED = {
    dg.DefaultScheduleStatus.RUNNING: "yes",
    dg.DefaultScheduleStatus.STOPPED: "no",
    dg.DefaultSensorStatus.RUNNING: "yes",
    dg.DefaultSensorStatus.STOPPED: "no",
}


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    """Return what is loaded for the strategy of the demonstration."""
    return code_location(load_settings())


def table(heading: str) -> set[tuple[str, ...]]:
    """Return the rows of the table under a heading, without the marks of code."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    return {tuple(line.replace("`", "").split(" | ")) for line in lines}


def test_schedules_and_sensors_start_and_tick_as_the_page_says(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    schedules = {(s.name, STARTED[s.default_status], s.cron_schedule) for s in
                 repository.schedule_defs}  # fmt: skip
    sensors = {
        (s.name, STARTED[s.default_status], f"every {s.minimum_interval_seconds} s")
        for s in repository.sensor_defs
    }
    assert table("Schedules and sensors") == schedules | sensors


def test_the_jobs_are_those_of_the_page_and_of_the_readme(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    starts: dict[str, list[str]] = defaultdict(list)
    for each in (*repository.schedule_defs, *repository.sensor_defs):
        targets = [each.target] if isinstance(each, dg.ScheduleDefinition) else each.targets
        for target in targets:
            starts[target.job_name].append(each.name)
    jobs = {
        (
            job.name,
            "no" if job.partitions_def is None else "yes",
            ", ".join(starts[job.name]) or "nothing",
        )
        for job in repository.get_all_jobs()
        if job.name.startswith("momentum_")
    }
    assert table("Jobs") == jobs
    told = re.findall(r"^\| job `<strategy>_(\w+)`", README, re.MULTILINE)
    assert sorted(told) == sorted(name.removeprefix("momentum_") for name, _, _ in jobs)


def test_the_checks_that_block_are_those_of_the_page(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    found = {
        (key.asset_key.path[-1], key.name, "yes" if graph.get(key).blocking else "no")
        for key in graph.asset_check_keys
    }
    assert table("Checks") == found


def test_every_picture_is_described_and_small() -> None:
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", PAGE)
    assert {name for _, name in pictures} == {path.name for path in DOCS.glob("*.png")}
    for description, name in pictures:
        assert len(description) > 40
        content = (DOCS / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 300_000
        (width,) = struct.unpack(">I", content[16:20])
        assert width == 1600
