"""The ways an alert leaves the house: the log, a webhook, mail."""

from __future__ import annotations

import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from http.client import HTTPException
from typing import Any, Protocol, runtime_checkable
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import SecretStr

from quant_mlops.alerts.messages import (
    mail_digest,
    mail_message,
    summarise,
    webhook_body,
    webhook_digest,
)
from quant_mlops.alerts.outbox import Alert
from quant_mlops.alerts.reach import door_to, knock
from quant_mlops.errors import ChannelError, ChannelTimeoutError, SettingsError
from quant_mlops.settings import Settings, SmtpSettings
from quant_mlops.wording import counted

logger = logging.getLogger("quant_mlops.alerts")

LOG = "log"
TIMEOUT = 10.0
IMPLICIT_TLS_PORT = 465
LOG_LEVELS = {
    "info": logging.INFO,
    "warning": logging.WARNING,
    "severe": logging.ERROR,
    "critical": logging.CRITICAL,
}


class Channel(Protocol):
    """One way to tell somebody of an alert."""

    @property
    def name(self) -> str:
        """What deliveries are filed under; another name means everything is sent again."""

    def send(self, alert: Alert) -> None:
        """Send one alert, or raise ChannelError with a message free of secrets.

        After a ChannelTimeoutError the channel is sent nothing else in the same round.
        """


@runtime_checkable
class DigestChannel(Channel, Protocol):
    """A channel that can tell of many alerts in one message; others get them one by one."""

    def send_digest(self, alerts: Sequence[Alert]) -> None:
        """Send one message about all, or raise ChannelError with a message free of secrets."""


@dataclass(frozen=True)
class LogChannel:
    """Writes alerts to the logger `quant_mlops.alerts`, at a level by severity."""

    name: str = LOG

    def send(self, alert: Alert) -> None:
        """Log one line."""
        logger.log(LOG_LEVELS[alert.severity], "%s", summarise(alert))


@dataclass(frozen=True, repr=False)
class WebhookChannel:
    """Posts JSON that Slack's incoming webhooks accept, and Mattermost's and Rocket.Chat's.

    Parameters
    ----------
    url : SecretStr
        Whoever knows its path may post, so nothing but its host is ever shown.
    timeout : float
        Seconds of silence after which an attempt has failed.
    """

    url: SecretStr
    timeout: float = TIMEOUT
    name: str = "webhook"

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url.get_secret_value())
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise SettingsError(
                "the webhook's address (not shown) is not a URL of the form https://HOST/PATH; "
                "correct QUANT_MLOPS_WEBHOOK_URL"
            )

    def __repr__(self) -> str:
        return f"WebhookChannel({self._host})"

    @property
    def _host(self) -> str:
        return urlsplit(self.url.get_secret_value()).hostname or ""

    def send(self, alert: Alert) -> None:
        """Post one alert; any answer but a 2xx is a failure, a redirect included."""
        self._post_document(webhook_body(alert))

    def send_digest(self, alerts: Sequence[Alert]) -> None:
        """Post one document about all of the alerts."""
        self._post_document(webhook_digest(alerts))

    def probe(self) -> str:
        """Connect to the host or to the proxy before it, and say so; nothing is posted."""
        failure, words = None, ""
        try:
            door = door_to(self.url.get_secret_value())
            knock(door, timeout=self.timeout)
            words = f"{door.words()}; nothing was posted"
        except (OSError, ValueError) as error:
            failure = _failure("could not be reached", error)
        if failure is not None:
            raise failure.error(f"the webhook at {self._host} {failure.problem}")
        return words

    def _post_document(self, document: dict[str, Any]) -> None:
        failure = self._post(json.dumps(document).encode())
        # Raised out here, the error has no context that would hold the address.
        if failure is not None:
            raise failure.error(f"the webhook at {self._host} {failure.problem}")

    def _post(self, body: bytes) -> _Failure | None:
        try:
            request = Request(
                self.url.get_secret_value(),
                data=body,
                headers={"Content-Type": "application/json", "User-Agent": "quant-mlops"},
            )
            with build_opener(_RefuseRedirect).open(request, timeout=self.timeout):
                return None
        except HTTPError as error:
            error.close()
            return _Failure(f"answered with status {error.code}")
        except (OSError, HTTPException, ValueError) as error:
            return _failure("could not be reached", error)


@dataclass(frozen=True, repr=False)
class SmtpChannel:
    """Sends mail to all recipients, one for each alert or digest.

    Parameters
    ----------
    settings : SmtpSettings
        Port 465 speaks TLS from the first byte; on any other, `starttls` decides.
    timeout : float
        Seconds of silence after which an attempt has failed.
    """

    settings: SmtpSettings
    timeout: float = TIMEOUT
    name: str = "smtp"

    def __post_init__(self) -> None:
        needed = ("host", "sender", "recipients")
        missing = [key for key in needed if not getattr(self.settings, key)]
        if missing:
            raise SettingsError(
                f"mail for alerts lacks {', '.join(missing)}; set "
                f"{', '.join(f'QUANT_MLOPS_SMTP_{key.upper()}' for key in missing)}, or no "
                f"QUANT_MLOPS_SMTP_HOST to send no mail"
            )

    def __repr__(self) -> str:
        return f"SmtpChannel({self.settings.host}:{self.settings.port})"

    def send(self, alert: Alert) -> None:
        """Send one mail; it is sent once at least one recipient was accepted."""
        self._send_mail(mail_message(alert, self.settings))

    def send_digest(self, alerts: Sequence[Alert]) -> None:
        """Send one mail about all of the alerts."""
        self._send_mail(mail_digest(alerts, self.settings))

    def probe(self) -> str:
        """Say EHLO, encrypt and log in as for a mail; none is sent."""
        self._use(lambda server: server.ehlo_or_helo_if_needed())
        encrypted = self.settings.port == IMPLICIT_TLS_PORT or self.settings.starttls
        done = ["answers", *(["encrypts"] if encrypted else [])]
        done += ["accepts the login"] if self.settings.username else []
        return f"{self.settings.host}:{self.settings.port} {', '.join(done)}; no mail was sent"

    def _send_mail(self, message: EmailMessage) -> None:
        def send(server: smtplib.SMTP) -> None:
            refused = server.send_message(message)
            if refused:
                people = counted(len(refused), "mail recipient")
                logger.warning("%s: %s refused", message["Subject"], people)

        self._use(send)

    def _use(self, do: Callable[[smtplib.SMTP], None]) -> None:
        failure = self._failure(do)
        # Raised out here, the error has no context that would hold the login.
        if failure is not None:
            raise failure.error(
                f"the mail server at {self.settings.host}:{self.settings.port} {failure.problem}"
            )

    def _failure(self, do: Callable[[smtplib.SMTP], None]) -> _Failure | None:
        try:
            with self._connect() as server:
                if self.settings.username:
                    password = self.settings.password.get_secret_value()
                    server.login(self.settings.username, password)
                do(server)
        except smtplib.SMTPResponseException as error:
            return _Failure(f"answered with status {error.smtp_code} ({type(error).__name__})")
        except (OSError, ValueError) as error:
            return _failure("could not be used", error)
        return None

    def _connect(self) -> smtplib.SMTP:
        host, port = self.settings.host, self.settings.port
        if port == IMPLICIT_TLS_PORT:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(host, port, timeout=self.timeout, context=context)
        server = smtplib.SMTP(host, port, timeout=self.timeout)
        if self.settings.starttls:
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server


def channels_from_settings(settings: Settings) -> tuple[Channel, ...]:
    """Return the channels that the settings turn on; the log is always the first.

    Raises
    ------
    SettingsError
        A channel is turned on but not completely described; no secret is shown.
    """
    channels: list[Channel] = [LogChannel()]
    if settings.webhook_url is not None:
        channels.append(WebhookChannel(settings.webhook_url))
    if settings.smtp.host:
        channels.append(SmtpChannel(settings.smtp))
    return tuple(channels)


class _RefuseRedirect(HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without the alert, and look delivered."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class _Failure:
    """What went wrong, in words without an address, and as which error it is raised."""

    problem: str
    error: type[ChannelError] = ChannelError


def _failure(what: str, error: Exception) -> _Failure:
    """Describe an error without its text, which may quote an address."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return _Failure(f"{what}: timed out", ChannelTimeoutError)
    if isinstance(cause, OSError) and cause.strerror:
        return _Failure(f"{what}: {cause.strerror}")
    return _Failure(f"{what}: {type(cause if isinstance(cause, Exception) else error).__name__}")
