"""`doorlock simulate`: devices that are not there, over either transport or both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    device_id: Annotated[
        str | None,
        typer.Option("--device", "--device-id", help="A registered device: name, ESP id or id."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Its token; - for stdin, none to be asked.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="JSON {deviceId: token} of several devices.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Register so many at the daemon.")
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Their name, with a number where there are several.")
    ] = "simulated",
    esp_id: Annotated[str, typer.Option("--esp-id", help="The ESP id that they report.")] = "SIM",
    device_type: Annotated[str, typer.Option("--type", help="door-lock, esp32-cam, …")] = (
        "door-lock"
    ),
    socket: Annotated[Path | None, typer.Option("--socket", help="The daemon's socket.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="http://127.0.0.1:3000")] = None,
    mqtt: Annotated[str | None, typer.Option("--mqtt", help="mqtt://127.0.0.1:1883")] = None,
    transport: Annotated[
        str | None, typer.Option("--transport", help="websocket, mqtt or both.")
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="Trust this CA for TLS.")] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", help="NAME[=SECONDS][:PROBABILITY], repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Make chance reproducible.")] = None,
    heartbeat: Annotated[
        float, typer.Option("--heartbeat", min=0.05, help="Seconds between heartbeats.")
    ] = 30.0,
    persistent: Annotated[
        bool, typer.Option("--persistent", help="Keep an MQTT session at the broker.")
    ] = False,
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="Keep journals here, not in a throw-away.")
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the registered devices at the end.")
    ] = False,
) -> None:
    """Run simulated devices until ctrl-c, with faults on demand.

    --fault knows jam, slow, silent, lost-ack, late-ack, ack-twice, wrong-device-id, skewed-clock,
    sensor-disagrees and reboot-in-the-middle.
    """
    from doorlock.device.simulator import Wishes, run_simulator

    run_simulator(
        Wishes(
            device_id=device_id,
            token_file=token_file,
            tokens=tokens,
            count=count,
            name=name,
            esp_id=esp_id,
            device_type=device_type,
            socket=socket,
            url=url,
            mqtt=mqtt,
            transport=transport,
            ca=ca,
            faults=tuple(fault or ()),
            seed=seed,
            heartbeat=heartbeat,
            persistent=persistent,
            state_dir=state_dir,
            remove=remove,
        ),
        say=typer.echo,
    )
