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


@router.get("/health", responses={503: {"description": "degraded"}})
async def health(request: Request) -> Response:
    found = services(request).health.brief()
    status = 503 if found["status"] == "degraded" else 200
    # beside `data` too, for simple probes
    return envelope(found, found["status"], status=status, uptime=found["uptime"])


@router.get("/health/detailed")
async def detailed(request: Request, caller: TheCaller) -> Response:
    found = services(request)
    data = {**found.health.detailed(), "devices": await found.queries.stats(caller)}
    if not caller.user.is_operator:  # what all tenants do together is no concern of one
        data["connections"] = await found.overview.connections(caller)
        data["services"] = {
            name: {"status": part["status"], "message": part["message"]}
            for name, part in data["services"].items()
        }
    return envelope(data, data["status"])


@router.get("/health/devices")
async def device_health(request: Request, caller: TheCaller) -> Response:
    return envelope(await services(request).overview.device_health(caller))


@router.get("/health/metrics")
async def metrics(request: Request, caller: TheCaller) -> Response:
    found = services(request)
    health = found.health.detailed()
    data = {
        **await found.overview.metrics(caller),
        "uptime": health["uptime"],
        "memory": health["memory"],
        "lastErrors": health["lastErrors"],
    }
    return envelope(data)


@router.get("/config")
async def config(request: Request, caller: TheCaller) -> Response:
    require_operator(caller, "see the configuration")
    return envelope(services(request).settings())
