"""What an alert looks like outside: a line of text, a JSON document, a mail."""

from __future__ import annotations

import hashlib
import json
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from quant_mlops.alerts.outbox import Alert
from quant_mlops.settings import SmtpSettings

COLOURS = {"info": "#439fe0", "warning": "#daa038", "severe": "#d7681d", "critical": "#a30200"}


def summarise(alert: Alert) -> str:
    """Return an alert as one line of text."""
    line = (
        f"[{alert.severity}] {alert.strategy_id}: {alert.message} "
        f"(rule {alert.rule}, since {alert.opened_session}, action: {alert.action})"
    )
    return " ".join(line.split())


def webhook_body(alert: Alert) -> dict[str, Any]:
    """Return the JSON document of an alert: `text`, and its fields as an attachment.

    Slack refuses blocks with keys it does not know, and shows an attachment's fields whatever
    their titles are; so do Mattermost and Rocket.Chat.
    """
    values = {
        "alert": alert.alert_id,
        "strategy": alert.strategy_id,
        "severity": alert.severity,
        "rule": alert.rule,
        "action": alert.action,
        "opened": alert.opened_session,
        "last seen": alert.last_session,
        "closed": alert.closed_session or "open",
        "model": alert.model_id or "none",
    }
    fields = [
        {"title": title, "value": _escape(str(value)), "short": True}
        for title, value in values.items()
    ]
    text = _escape(summarise(alert))
    attachment = {"fallback": text, "color": COLOURS[alert.severity], "fields": fields}
    return {"text": text, "attachments": [attachment]}


def mail_message(alert: Alert, settings: SmtpSettings) -> EmailMessage:
    """Return the mail of an alert; its Message-ID is the same at every attempt."""
    message = EmailMessage()
    message["Subject"] = f"[{alert.severity}] {' '.join(alert.strategy_id.split())}: alert"
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.recipients)
    message["Date"] = format_datetime(alert.recorded_at)
    identity = f"{alert.dedupe_key} {alert.recorded_at.isoformat()}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{digest}@quant-mlops.invalid>"
    evidence = json.dumps(alert.evidence, indent=2, ensure_ascii=False)
    message.set_content(f"{summarise(alert)}\n\nEvidence at the opening:\n{evidence}\n")
    return message


def _escape(text: str) -> str:
    """Take their meaning from Slack's three control characters (`<!channel>` pages everybody)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
