"""Where a broker of one's own is, and how the daemon proves itself there."""

from __future__ import annotations

import ssl
import uuid
from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from doorlock.daemon.config import MqttSection
from doorlock.daemon.gateways.mqtt_link import Address, LinkDown
from doorlock.errors import BadConfig


def own_broker(settings: MqttSection) -> tuple[Address, Path | None]:
    """What `mqtt.url` and its neighbours say, and the password file if there is one; the URL's
    own user and password serve where those say nothing. Raises BadConfig."""
    if settings.embedded == "on":
        raise BadConfig('mqtt.url and mqtt.embedded = "on" exclude each other', hint="Keep one.")
    parts = urlsplit(settings.url or "")
    if not parts.hostname:
        raise BadConfig("mqtt.url names no host", hint="For example mqtt://broker:1883.")
    tls = _tls(settings) if parts.scheme == "mqtts" else None
    address = Address(
        parts.hostname,
        _port(parts, 1883 if tls is None else 8883),
        settings.username or _unquoted(parts.username),
        _unquoted(parts.password),
        settings.client_id or f"doorlockd-{uuid.uuid4().hex[:12]}",
        tls,
    )
    return address, settings.password_file


def with_password(address: Address, file: Path) -> Address:
    """Read anew at every connection, so that a changed password needs no restart. Raises
    LinkDown."""
    try:
        password = file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LinkDown("mqtt.password_file cannot be read") from error
    return replace(address, password=password)


def _port(parts: SplitResult, default: int) -> int:
    try:
        return parts.port or default
    except ValueError as error:
        raise BadConfig(
            "the port in mqtt.url cannot be used", hint="A port is a number up to 65535."
        ) from error


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _tls(settings: MqttSection) -> ssl.SSLContext:
    """`mqtt.tls_insecure` leaves out the check of the host's name, and that alone."""
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
        if settings.tls_cert is not None:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise BadConfig(
            "the certificates in mqtt.tls_ca, tls_cert and tls_key cannot be used",
            hint="They are PEM files that the daemon must be able to read.",
        ) from error
    context.check_hostname = not settings.tls_insecure
    return context
