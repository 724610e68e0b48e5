"""Routes of the daemon itself: its version, its health, its settings."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from doorlock import __version__
from doorlock.daemon.api.callers import TheCaller
from doorlock.daemon.api.respond import envelope
from doorlock.daemon.api.state import services
from doorlock.daemon.services.guard import require_operator
from doorlock.protocol import API_VERSION

router = APIRouter(prefix="/api", tags=["daemon"])


@router.get("/version")
async def version(request: Request) -> Response:
    found = services(request)
    return envelope(
        {
            "version": __version__,
            "api": API_VERSION,
            "url": found.listen_url(),
            "mqttUrl": found.mqtt_url(),
        }
    )


@router.get("/health")
async def health(request: Request) -> Response:
    found = services(request).health.brief()
    status = 503 if found["status"] == "degraded" else 200
    # beside `data` too, for simple probes
    return envelope(found, found["status"], status=status, uptime=found["uptime"])


@router.get("/health/detailed")
async def detailed(request: Request, caller: TheCaller) -> Response:
    found = services(request)
    own = (
        None
        if caller.user.is_operator
        else [seen.device.id for seen in await found.guard.visible(caller.user)]
    )
    data = {**found.health.detailed(own), "devices": await found.queries.stats(caller)}
    return envelope(data, data["status"])


@router.get("/config")
async def config(request: Request, caller: TheCaller) -> Response:
    require_operator(caller, "see the configuration")
    return envelope(services(request).settings())
