"""`doorlock device run`: this machine is the lock."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Be a lock: the agent for a Raspberry Pi.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `run` a subcommand although it is the only one."""


@app.command()
def run(
    device_id: Annotated[str, typer.Option("--device-id", help="The id from `register`.")],
    state_dir: Annotated[
        Path, typer.Option("--state-dir", help="Where it remembers the commands it has done.")
    ],
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Its token; - for stdin, none to be asked.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="http://daemon:3000")] = None,
    mqtt: Annotated[str | None, typer.Option("--mqtt", help="mqtt://broker:1883")] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="Trust this CA for TLS.")] = None,
    relay_pin: Annotated[
        int | None, typer.Option("--relay-pin", help="BCM number of the strike's relay.")
    ] = None,
    sensor_pin: Annotated[
        int | None, typer.Option("--sensor-pin", help="BCM number of the bolt's contact.")
    ] = None,
    active_low: Annotated[
        bool, typer.Option("--active-low", help="The relay switches on at a low level.")
    ] = False,
    mock: Annotated[bool, typer.Option("--mock", help="Simulate the bolt: no pins.")] = False,
    esp_id: Annotated[str, typer.Option("--esp-id", help="The id that it reports.")] = "RPI",
) -> None:
    """Run this machine as a lock until ctrl-c.

    Without a sensor it reports no door status: what it cannot see, it does not claim.
    """
    from doorlock.device.agent import Wiring, run_agent

    run_agent(
        device_id=device_id,
        esp_id=esp_id,
        token_file=token_file,
        state_dir=state_dir,
        url=url,
        mqtt=mqtt,
        ca=ca,
        wiring=Wiring(relay_pin, sensor_pin, active_low=active_low, mock=mock),
        say=typer.echo,
    )
