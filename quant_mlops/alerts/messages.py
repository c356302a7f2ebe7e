"""What an alert looks like outside: a line of text, a JSON document, a mail."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from quant_mlops.alerts.outbox import SEVERITIES, Alert
from quant_mlops.settings import SmtpSettings
from quant_mlops.wording import counted

COLOURS = {"info": "#439fe0", "warning": "#daa038", "severe": "#d7681d", "critical": "#a30200"}

# Slack refuses a message that exceeds any of its limits (docs.slack.dev, Block Kit reference).
SECTION_CHARACTERS = 3000
MOST_BLOCKS = 50
DIGEST_LINE_CHARACTERS = 300


def summarise(alert: Alert) -> str:
    """Return an alert as one line of text."""
    line = (
        f"[{alert.severity}] {alert.strategy_id}: {alert.message} "
        f"(rule {alert.rule}, since {alert.opened_session}, action: {alert.action}"
        f"{'' if alert.escalates is None else f', escalates alert {alert.escalates}'})"
    )
    return " ".join(line.split())


def summarise_digest(alerts: Sequence[Alert]) -> str:
    """Return how many alerts there are, and of which severities, gravest first."""
    counts = Counter(alert.severity for alert in alerts)
    parts = [f"{counts[severity]} {severity}" for severity in reversed(SEVERITIES)]
    present = ", ".join(part for part in parts if not part.startswith("0 "))
    return f"{counted(len(alerts), 'alert')}: {present}"


def webhook_body(alert: Alert) -> dict[str, Any]:
    """Return the JSON document of an alert: `text`, the same as a block, and its fields.

    Among the fields are what its evidence comes down to: value, threshold, since when, and model.
    Slack shows the block in place of the text, and the attachment's fields whatever their titles
    are; Mattermost and Rocket.Chat know no blocks and show text and fields. What is longer than
    Slack takes is cut, and says how much.
    """
    values: dict[str, object] = {
        "alert": alert.alert_id,
        "strategy": alert.strategy_id,
        "severity": alert.severity,
        "rule": alert.rule,
        "action": alert.action,
        "opened": alert.opened_session,
        "last seen": alert.last_session,
        "closed": alert.closed_session or "open",
        **_found(alert.evidence),
    }
    if alert.model_id is not None:
        values["model"] = alert.model_id
    if alert.escalates is not None:
        values["escalates"] = f"alert {alert.escalates}"
    fields = [
        {"title": title, "value": _fitted(str(value), SECTION_CHARACTERS), "short": True}
        for title, value in values.items()
    ]
    text = _fitted(summarise(alert), SECTION_CHARACTERS)
    attachment = {"fallback": text, "color": COLOURS[alert.severity], "fields": fields}
    return {"text": text, "blocks": [_section(text)], "attachments": [attachment]}


def webhook_digest(alerts: Sequence[Alert]) -> dict[str, Any]:
    """Return the JSON document of a digest: the count by severity, then a line an alert.

    The gravest stand first; those for which there is no room are counted.
    """
    headline = summarise_digest(alerts)
    sections: list[list[str]] = [[]]
    size = shown = 0
    for alert in _gravest_first(alerts):
        line = _fitted(summarise(alert), DIGEST_LINE_CHARACTERS)
        if size + len(line) + 1 > SECTION_CHARACTERS:
            # One block is the headline, and one says what is missing.
            if len(sections) == MOST_BLOCKS - 2:
                break
            sections.append([])
            size = 0
        sections[-1].append(line)
        size += len(line) + 1
        shown += 1
    missing = _left_out(len(alerts) - shown)
    blocks = [headline, *("\n".join(lines) for lines in sections), *missing]
    first = "\n".join([headline, *sections[0], *_left_out(len(alerts) - len(sections[0]))])
    return {"text": first, "blocks": [_section(text) for text in blocks]}


def mail_message(alert: Alert, settings: SmtpSettings) -> EmailMessage:
    """Return the mail of an alert; its Message-ID is the same at every attempt."""
    evidence = json.dumps(alert.evidence, indent=2, ensure_ascii=False)
    return _mail(
        [alert],
        settings,
        subject=f"[{alert.severity}] {' '.join(alert.strategy_id.split())}: alert",
        content=f"{summarise(alert)}\n\nEvidence at the opening:\n{evidence}\n",
    )


def mail_digest(alerts: Sequence[Alert], settings: SmtpSettings) -> EmailMessage:
    """Return one mail with a line for each alert, the gravest first."""
    gravest = _gravest_first(alerts)
    return _mail(
        alerts,
        settings,
        subject=f"[{gravest[0].severity}] {summarise_digest(alerts)}",
        content="".join(f"{summarise(alert)}\n" for alert in gravest),
    )


def _mail(
    alerts: Sequence[Alert], settings: SmtpSettings, *, subject: str, content: str
) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.recipients)
    message["Date"] = format_datetime(max(alert.recorded_at for alert in alerts))
    identity = "\n".join(f"{alert.dedupe_key} {alert.recorded_at.isoformat()}" for alert in alerts)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{digest}@quant-mlops.invalid>"
    message.set_content(content)
    return message


def _found(evidence: Mapping[str, Any]) -> dict[str, object]:
    """Return what the evidence of an alert comes down to, as far as it has that."""
    found: dict[str, object] = {}
    values: Mapping[str, float | None] = evidence.get("values") or {}
    known = {day: value for day, value in values.items() if value is not None}
    if known:
        newest = max(known)
        found["value"] = f"{known[newest]:.4g} on {newest}"
    if evidence.get("threshold") is not None:
        found["threshold"] = f"{evidence['threshold']:.4g}"
    onset = evidence.get("onset")
    if onset:
        found["since when"] = f"{onset['session']}, between {onset['first']} and {onset['last']}"
    return found


def _gravest_first(alerts: Sequence[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda alert: (-SEVERITIES.index(alert.severity), alert.alert_id))


def _left_out(count: int) -> list[str]:
    return [f"and {count} more, see `quant-mlops alerts list`"] if count else []


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _fitted(text: str, limit: int) -> str:
    """Escape a text and cut what exceeds the limit, saying how much that was."""
    escaped = _escape(text)
    if len(escaped) <= limit:
        return escaped
    # Cut before it is escaped, so that no entity is torn; the note has at most 40 characters.
    room, kept = limit - 40, 0
    for character in text:
        room -= len(_escape(character))
        if room < 0:
            break
        kept += 1
    return f"{_escape(text[:kept])} … ({len(text) - kept:,} characters cut)"


def _escape(text: str) -> str:
    """Take their meaning from Slack's three control characters (`<!channel>` pages everybody)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
