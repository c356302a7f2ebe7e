"""What is said of one run of the outbox."""

from __future__ import annotations

from quant_mlops.alerts.delivery import DeliveryReport
from quant_mlops.alerts.waiting import Wait
from quant_mlops.wording import short_time


def describe_waits(report: DeliveryReport) -> str:
    """Say why what waits does and until when; empty where nothing waits."""
    return ", ".join(_words(wait) for wait in report.waits)


def _words(wait: Wait) -> str:
    if wait.until is None:
        return f"{wait.pairs} due already, which the next run tries"
    held = "in backoff" if wait.reason == "backoff" else "held by the rate limit"
    first = "" if wait.pairs == 1 else ", the first"
    return f"{wait.pairs} {held}{first} until {short_time(wait.until)}"
