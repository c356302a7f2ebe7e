"""Channels send what they say they send, and show no secret when they cannot."""

from __future__ import annotations

import json
import logging
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_string, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from quant_mlops.alerts.channels import (
    ChannelError,
    LogChannel,
    SmtpChannel,
    WebhookChannel,
    channels_from_settings,
)
from quant_mlops.alerts.messages import summarise_digest, webhook_body
from quant_mlops.alerts.outbox import Alert
from quant_mlops.errors import SettingsError
from quant_mlops.settings import Settings, SmtpSettings

Store = Callable[..., Alert]

PATH = "/services/T0SECRET/B0SECRET?token=hush"
PASSWORD = "correct-horse"


class Mailbox(socketserver.ThreadingTCPServer):
    """As much of a mail server as one client needs."""

    daemon_threads = True
    password_is_right = True
    refused = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MailSession)
        self.mails: list[str] = []
        self.recipients: list[str] = []
        self.logins = 0


class _MailSession(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.answer("220 mailbox")
        for raw in self.rfile:
            verb = raw.decode().strip().upper()
            if verb.startswith("EHLO"):
                self.answer("250-mailbox", "250 AUTH PLAIN")
            elif verb.startswith("AUTH"):
                self.server.logins += 1
                right = self.server.password_is_right
                self.answer("235 welcome" if right else f"535 {PASSWORD} is wrong")
            elif verb.startswith("RCPT"):
                refused = self.server.refused and self.server.refused.upper() in verb
                if not refused:
                    self.server.recipients.append(verb)
                self.answer("550 nobody" if refused else "250 fine")
            elif verb.startswith("DATA"):
                self.answer("354 go on")
                lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                self.server.mails.append("".join(lines))
                self.answer("250 kept")
            elif verb.startswith("QUIT"):
                self.answer("221 bye")
                return
            else:
                self.answer("250 fine")

    def answer(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    server = Mailbox()
    with serving(server):
        yield server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def mail_channel(mailbox: Mailbox, **changes: object) -> SmtpChannel:
    values: dict[str, object] = {
        "host": "127.0.0.1",
        "port": mailbox.server_address[1],
        "sender": "desk@example.com",
        "recipients": ("ana@example.com", "ben@example.com"),
        "starttls": False,
    }
    return SmtpChannel(SmtpSettings.model_validate(values | changes), timeout=5)


@pytest.mark.parametrize(
    ("severity", "level"),
    [("info", "INFO"), ("warning", "WARNING"), ("severe", "ERROR"), ("critical", "CRITICAL")],
)
def test_the_log_line_has_the_level_of_the_severity(
    store_alert: Store, caplog: pytest.LogCaptureFixture, severity: str, level: str
) -> None:
    caplog.set_level(logging.INFO)
    LogChannel().send(store_alert(severity=severity, message="IC is\nlow"))
    (record,) = caplog.records
    assert (record.levelname, record.name) == (level, "quant_mlops.alerts")
    assert f"[{severity}] momentum: IC is low (rule psi_severe" in record.getMessage()


@contextmanager
def web_server(status: int) -> Iterator[tuple[str, list[dict[str, object]]]]:
    bodies: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            bodies.append({"path": self.path} | json.loads(body))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            bodies.append({"path": self.path})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}", bodies


def test_a_webhook_gets_text_and_fields_with_slack_markup_disarmed(store_alert: Store) -> None:
    with web_server(200) as (address, bodies):
        alert = store_alert(message="drift <!channel> & more")
        WebhookChannel(SecretStr(address + PATH)).send(alert)
    (body,) = bodies
    assert body["path"] == PATH
    assert "drift &lt;!channel&gt; &amp; more" in str(body["text"])
    attachments = body["attachments"]
    assert isinstance(attachments, list)
    (attachment,) = attachments
    fields = {field["title"]: field["value"] for field in attachment["fields"]}
    assert fields["alert"] == str(alert.alert_id)
    assert fields["severity"] == "severe"
    assert fields["opened"] == "2024-03-04"
    assert set(body) == {"path", "text", "blocks", "attachments"}


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_an_answer_that_is_no_success_is_a_failure(store_alert: Store, status: int) -> None:
    with web_server(status) as (address, bodies):
        channel = WebhookChannel(SecretStr(address + PATH))
        with pytest.raises(ChannelError, match=f"at 127.0.0.1 answered with status {status}$"):
            channel.send(store_alert())
    assert len(bodies) == 1


@pytest.mark.parametrize("tail", [PATH, "/services/with blank/T0SECRET", "/services/T0SECRET\x7f"])
def test_a_webhook_shows_nothing_but_its_host(store_alert: Store, tail: str) -> None:
    with web_server(200) as (address, _):
        closed = address
    channel = WebhookChannel(SecretStr(closed.replace("//", "//user:hush@") + tail))
    with pytest.raises(ChannelError) as caught:
        channel.send(store_alert())
    assert caught.value.__context__ is None
    for shown in (repr(channel), str(caught.value), repr(caught.value)):
        assert "127.0.0.1" in shown
        assert not any(part in shown for part in ("SECRET", "hush", "services"))


@pytest.mark.parametrize(
    "url", ["file:///etc/hush", "ftp://hush@host/", "hooks.slack.com/hush", "https://[hush/", ""]
)
def test_a_webhook_without_a_web_address_is_refused_unseen(url: str) -> None:
    with pytest.raises(SettingsError, match="QUANT_MLOPS_WEBHOOK_URL") as caught:
        WebhookChannel(SecretStr(url))
    assert "hush" not in str(caught.value)


def test_a_mail_goes_to_every_recipient(mailbox: Mailbox, store_alert: Store) -> None:
    alert = store_alert(message="Überraschung: PSI 0.31", evidence={"psi": 0.31})
    channel = mail_channel(mailbox, username="desk", password=PASSWORD)
    channel.send(alert)
    channel.send(alert)
    first, second = (message_from_string(text, policy=policy.default) for text in mailbox.mails)
    assert first["Subject"] == "[severe] momentum: alert"
    assert first["To"] == "ana@example.com, ben@example.com"
    content = first.get_content()
    assert "Überraschung: PSI 0.31" in content
    assert '"psi": 0.31' in content
    assert first["Message-ID"] == second["Message-ID"]
    assert (len(mailbox.recipients), mailbox.logins) == (4, 2)


def test_a_line_break_in_a_name_does_not_make_a_mail_header(
    mailbox: Mailbox, store_alert: Store
) -> None:
    mail_channel(mailbox).send(store_alert(strategy_id="a\r\nBcc: eve@example.com"))
    mail = message_from_string(mailbox.mails[0], policy=policy.default)
    assert mail["Bcc"] is None
    assert mail["Subject"] == "[severe] a Bcc: eve@example.com: alert"


def test_a_mail_is_sent_if_one_recipient_is_accepted(
    mailbox: Mailbox, store_alert: Store, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.refused = "ben@"
    mail_channel(mailbox).send(store_alert())
    assert len(mailbox.mails) == 1
    assert "1 mail recipient refused" in caplog.text
    mailbox.refused = "@"
    with pytest.raises(ChannelError, match="SMTPRecipientsRefused"):
        mail_channel(mailbox).send(store_alert())


def test_a_wrong_password_is_not_shown(
    mailbox: Mailbox, store_alert: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mailbox.password_is_right = False
    channel = mail_channel(mailbox, username="desk-account", password=PASSWORD)
    with pytest.raises(ChannelError, match="status 535") as caught:
        channel.send(store_alert())
    assert caught.value.__context__ is None
    for shown in (repr(channel), repr(caught.value), caplog.text):
        assert PASSWORD not in shown
        assert "desk-account" not in shown


def test_no_mail_goes_out_in_the_clear_when_tls_was_asked_for(
    mailbox: Mailbox, store_alert: Store
) -> None:
    channel = mail_channel(mailbox, starttls=True, username="desk", password=PASSWORD)
    with pytest.raises(ChannelError, match="SMTPNotSupportedError"):
        channel.send(store_alert())
    assert (mailbox.mails, mailbox.logins) == ([], 0)


def test_the_settings_choose_the_channels(tmp_path: Path) -> None:
    assert [c.name for c in channels_from_settings(Settings(home=tmp_path))] == ["log"]
    settings = Settings(
        home=tmp_path,
        webhook_url=SecretStr(f"https://hooks.example.com{PATH}"),
        smtp=SmtpSettings(
            host="mail.example.com",
            username="desk-account",
            password=SecretStr(PASSWORD),
            sender="desk@example.com",
            recipients=("ana@example.com",),
        ),
    )
    channels = channels_from_settings(settings)
    assert [channel.name for channel in channels] == ["log", "webhook", "smtp"]
    assert repr(channels[1:]) == (
        "(WebhookChannel(hooks.example.com), SmtpChannel(mail.example.com:587))"
    )


def test_half_described_mail_is_refused(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, smtp=SmtpSettings(host="mail.example.com", password=SecretStr(PASSWORD))
    )
    with pytest.raises(SettingsError, match="QUANT_MLOPS_SMTP_SENDER") as caught:
        channels_from_settings(settings)
    assert PASSWORD not in str(caught.value)


def test_a_webhook_is_tried_by_a_connection_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with web_server(200) as (address, bodies):
        channel = WebhookChannel(SecretStr(address + PATH))
        host = address.removeprefix("http://")
        assert channel.probe() == f"{host} answers; nothing was posted"
        # By TLS, of which this server knows nothing.
        with pytest.raises(ChannelError, match=r"the webhook at 127\.0\.0\.1 could not be reached"):
            WebhookChannel(SecretStr(f"https://{host}{PATH}"), timeout=5).probe()
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("http_proxy", address)
        behind = WebhookChannel(SecretStr(f"http://hooks.example.com{PATH}"))
        assert behind.probe() == (
            f"the proxy {host} answers; hooks.example.com was not tried; nothing was posted"
        )
    assert bodies == []
    for url in (f"http://{host}{PATH}", f"http://127.0.0.1:99999{PATH}"):
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(ChannelError, match="could not be reached") as caught:
            WebhookChannel(SecretStr(url)).probe()
        assert "SECRET" not in str(caught.value)
        assert caught.value.__context__ is None


def test_a_mail_server_is_tried_up_to_the_login(mailbox: Mailbox) -> None:
    channel = mail_channel(mailbox, username="desk-account", password=PASSWORD)
    port = mailbox.server_address[1]
    words = f"127.0.0.1:{port} answers, accepts the login; no mail was sent"
    assert channel.probe() == words
    assert mail_channel(mailbox).probe() == f"127.0.0.1:{port} answers; no mail was sent"
    mailbox.password_is_right = False
    with pytest.raises(ChannelError, match="status 535") as caught:
        channel.probe()
    assert caught.value.__context__ is None
    with pytest.raises(ChannelError, match="SMTPNotSupportedError"):
        mail_channel(mailbox, starttls=True).probe()
    assert (mailbox.mails, mailbox.logins) == ([], 2)


def test_a_webhook_gets_what_the_evidence_comes_down_to(store_alert: Store) -> None:
    evidence = {
        "values": {"2024-03-01": 0.31, "2024-03-04": 0.28, "2024-03-05": None},
        "threshold": 0.25,
        "onset": {"session": "2024-02-20", "first": "2024-02-12", "last": "2024-02-27"},
    }
    for given, wanted in (
        (
            evidence,
            {
                "value": "0.28 on 2024-03-04",
                "threshold": "0.25",
                "since when": "2024-02-20, between 2024-02-12 and 2024-02-27",
            },
        ),
        ({"values": {}, "threshold": None}, {}),
    ):
        (attachment,) = webhook_body(store_alert(evidence=given))["attachments"]
        fields = {field["title"]: field["value"] for field in attachment["fields"]}
        found = {name: fields.get(name) for name in ("value", "threshold", "since when")}
        assert found == {name: wanted.get(name) for name in found}
        assert "model" not in fields


def test_one_alert_is_one_alert(store_alert: Store) -> None:
    alert = store_alert()
    assert summarise_digest([alert]) == "1 alert: 1 severe"
    assert summarise_digest([alert, alert]) == "2 alerts: 2 severe"
