"""Messages for devices that are no commands: over every connection that there is, or none."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from doorlock.daemon.ports import DeviceGateway, Outgoing

log = structlog.get_logger("doorlock.telling")


class Telling:
    """The ways down for whatever a device is merely told."""

    def __init__(self) -> None:
        self._gateways: Sequence[DeviceGateway] = ()

    def connect(self, gateways: Sequence[DeviceGateway]) -> None:
        """The ways down, known once they are built."""
        self._gateways = gateways

    async def tell(self, message: Outgoing) -> None:
        """Never raises: what cannot be said on one way is said on the other."""
        for gateway in self._gateways:
            try:
                await gateway.tell(message)
            except Exception:
                log.exception("a device could not be told", event_name=message.event)
