"""One live connection of a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from doorlock.protocol import Transport


@dataclass(frozen=True, slots=True)
class Session:
    """`id` is unique among the daemon's sessions: the socket's id, or `mqtt:` and the device id."""

    id: str
    device_id: str
    transport: Transport
    ip_address: str | None = None
    user_agent: str | None = None

    def metadata(self) -> dict[str, Any]:
        """What an event says of where it came from."""
        return {
            "source": self.transport.value,
            "ipAddress": self.ip_address,
            "socketId": self.id if self.transport is Transport.WEBSOCKET else None,
            "userAgent": self.user_agent,
        }
