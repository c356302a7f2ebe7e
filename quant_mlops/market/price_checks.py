"""The rules that prices of a file are held to, as data: a new rule is one entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quant_mlops.market.price_predicates import (
    Rule,
    conflict,
    either,
    exact_duplicate,
    infinite,
    missing,
    not_positive,
    nowhere,
    outside_range,
    session_moves,
    unchanged,
    unreadable,
)

RANGE_TOLERANCE = 1e-9
LARGE_MOVE = 0.5

# Asked of every row; the first rule that a row breaks is the reason it is rejected for.
ROW_RULES = (
    Rule(
        "broken_line",
        "reject",
        "A line must have as many cells as the first line.",
        nowhere,  # such lines never become rows; they are reported where the file is parsed
        "the line does not have as many cells as the first line",
    ),
    Rule(
        "missing_date",
        "reject",
        "A price must have a date.",
        lambda rows: ~rows.has_date,
        "the date is empty",
    ),
    Rule(
        "unreadable_date",
        "reject",
        "A date must be a day like 2020-01-31 without a time of day.",
        lambda rows: np.isnat(rows.session),
        "{date} is not a day",
    ),
    Rule(
        "missing_ticker",
        "reject",
        "A price must have a ticker.",
        lambda rows: rows.ticker < 0,
        "the ticker is empty",
    ),
    Rule(
        "missing_close",
        "reject",
        "A price must have a close.",
        missing("close"),
        "the close is empty",
    ),
    Rule(
        "unreadable_close",
        "reject",
        "A close must be a number with a decimal point and no other marks.",
        unreadable("close"),
        "the close {close} is not a number",
    ),
    Rule(
        "infinite_value",
        "reject",
        "No field of a row may be infinite, since whatever made it is not to be trusted.",
        infinite,
        "a field of the row is infinite",
    ),
    Rule(
        "close_not_positive",
        "reject",
        "A close must be above 0.",
        not_positive("close"),
        "the close is {close}",
    ),
    Rule(
        "unusable_adj_close",
        "reject",
        "An adjusted close that is given must be a number above 0, since features use it.",
        either(unreadable("adj_close"), not_positive("adj_close")),
        "the adjusted close is {adj_close}",
    ),
    Rule(
        "high_below_low",
        "reject",
        "A high must not be below the low.",
        lambda rows: rows.column("high") < rows.column("low"),
        "the high {high} is below the low {low}",
    ),
    Rule(
        "date_in_future",
        "reject",
        "A session must have closed when its price is read.",
        lambda rows: (rows.session > rows.clock.today) | (rows.event_time > rows.clock.now),
        "the session {session} had not closed when the file was read",
    ),
    Rule(
        "outside_calendar",
        "reject",
        "A date must lie in the range that the calendar of the exchange covers.",
        lambda rows: (rows.session < rows.clock.first_day) | (rows.session > rows.clock.last_day),
        "{session} lies outside of what the calendar covers",
    ),
    Rule(
        "not_a_session",
        "reject",
        "A date must be a session of the exchange.",
        lambda rows: rows.position < 0,
        "{session} is not a session of the exchange",
    ),
    Rule(
        "unreadable_known_at",
        "reject",
        "A known_at that is given must be a time that exists once.",
        lambda rows: rows.known_unreadable,
        "{known_at} is not a time, or does not exist exactly once in the market's zone",
    ),
    Rule(
        "known_before_close",
        "reject",
        "A close cannot have been known before its session closed.",
        lambda rows: rows.known_at < rows.event_time,
        "known at {known_time}, before the close at {event_time}",
    ),
    Rule(
        "known_in_future",
        "reject",
        "A price cannot have become known after it was read.",
        lambda rows: rows.known_at > rows.clock.now,
        "known at {known_time}, after the file was read",
    ),
)

# Asked of the rows that are left, sorted by ticker, session and time known, one after another.
REPEAT_RULES = (
    Rule(
        "exact_duplicate",
        "reject",
        "Of rows that agree in ticker, date, time known and content, only the first is kept.",
        exact_duplicate,
        "repeats an earlier row of {session} exactly",
    ),
    Rule(
        "conflicting_duplicate",
        "reject",
        "Rows of one ticker, date and time known with different contents are all rejected, "
        "since nothing says which is right.",
        conflict,
        "another row of {session} says something else; this one says close {close}",
    ),
    Rule(
        "unchanged_restatement",
        "omit",
        "A later print that repeats what was already known adds nothing and is left out.",
        unchanged,
        "says what was known before",
    ),
)


def _field_flags() -> tuple[Rule, ...]:
    rules = []
    for field in ("open", "high", "low", "volume"):
        unusable = either(unreadable(field), not_positive(field))
        nulled = unreadable(field) if field == "volume" else unusable
        rules += [
            Rule(
                f"missing_{field}",
                "flag",
                f"A row of a file with {field} should have one.",
                missing(field),
                f"the {field} is empty and the close is {{close}}",
            ),
            Rule(
                "field_nulled",
                "flag",
                "An open, high, low or volume that is no number, or a price not above 0, is set "
                "to null and the row kept.",
                nulled,
                f"the {field} {{{field}}} was set to null",
            ),
        ]
    return tuple(rules)


# Asked of the rows that are kept, all of them of every row.
FLAG_RULES = (
    *_field_flags(),
    Rule(
        "missing_adj_close",
        "flag",
        "A row of a file with adjusted closes should have one.",
        missing("adj_close"),
        "the adjusted close is empty and the close is {close}",
    ),
    *(
        Rule(
            f"{field}_outside_range",
            "flag",
            f"The {field} should lie between low and high, to within {RANGE_TOLERANCE:g} of the "
            "bound.",
            outside_range(field, RANGE_TOLERANCE),
            f"the {field} {{{field}}} is not between the low {{low}} and the high {{high}}",
        )
        for field in ("close", "open")
    ),
    Rule(
        "zero_volume",
        "flag",
        "A session in which a price was made should have volume.",
        lambda rows: rows.column("volume") == 0,
        "the volume is 0",
    ),
    Rule(
        "negative_volume",
        "flag",
        "A volume below 0 is set to null and the row kept.",
        lambda rows: rows.given["volume"] < 0 if "volume" in rows.given else nowhere(rows),
        "the volume {volume} was set to null",
    ),
    Rule(
        "large_move",
        "flag",
        f"A move of more than {LARGE_MOVE:.0%} in one session may be a split that was not "
        "adjusted for.",
        lambda rows: np.abs(session_moves(rows)) > LARGE_MOVE,
        "moved by {move} since the session before",
    ),
)

RULES = ROW_RULES + REPEAT_RULES + FLAG_RULES


@dataclass(frozen=True)
class Defect:
    """How many rows of a file broke one rule, and what became of them."""

    reason: str
    rows: int
    outcome: str
    rule: str


OUTCOMES = {"reject": "quarantined", "omit": "left out", "flag": "kept"}


def describe_defects(summary: Mapping[str, int]) -> list[Defect]:
    """Return the counts of a batch's summary with the rule behind each."""
    rules = {rule.code: rule for rule in RULES}
    return [
        Defect(code, rows, OUTCOMES[rules[code].severity], rules[code].sentence)
        for code, rows in summary.items()
    ]
