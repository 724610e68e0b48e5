"""Both transports over TLS, with a certificate authority of one's own."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from doorlock.device.console import trust
from doorlock.device.runner import Device
from doorlock.device.spec import DeviceSpec
from doorlock.errors import BadInput
from tests.integration.device.conftest import Daemon, eventually

Maker = Callable[..., DeviceSpec]


@pytest.fixture
async def certificate(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: it makes the certificate of the TLS tests")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    process = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    return cert, key


def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


async def test_socketio_over_tls(make_spec: Maker, certificate: tuple[Path, Path]) -> None:
    daemon = Daemon()
    runner = web.AppRunner(daemon.app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(certificate)).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with Device(make_spec(url=url, tls=trust(certificate[0]))) as device:
            await device.connected("websocket")
        assert len(daemon.proofs) == 1
    finally:
        await runner.cleanup()


async def test_an_untrusted_certificate_gets_no_token(
    make_spec: Maker, certificate: tuple[Path, Path]
) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(certificate))
    port = server.sockets[0].getsockname()[1]
    async with Device(make_spec(mqtt_url=f"mqtts://127.0.0.1:{port}")) as device:
        link = next(iter(device._links.values()))
        await eventually(lambda: link._attempt >= 2)
    server.close()
    assert not any(heard)


async def test_mqtt_over_tls(make_spec: Maker, certificate: tuple[Path, Path]) -> None:
    connects: list[bytes] = []

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connects.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(broker, "127.0.0.1", 0, ssl=server_context(certificate))
    port = server.sockets[0].getsockname()[1]
    spec = make_spec(mqtt_url=f"mqtts://127.0.0.1:{port}", tls=trust(certificate[0]))
    async with Device(spec):
        await eventually(lambda: any(b"MQTT" in packet for packet in connects))
    server.close()


def test_a_ca_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing")
    for name in ("ca", "missing"):
        with pytest.raises(BadInput, match="not a usable CA"):
            trust(tmp_path / name)
