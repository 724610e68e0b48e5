"""`/metrics`: the daemon's figures in Prometheus' text format."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from fastapi import APIRouter, Request, Response

from doorlock.daemon.api.callers import bearer_in, caller, peer_in
from doorlock.daemon.api.state import services
from doorlock.daemon.services.guard import require_operator
from doorlock.daemon.services.metrics import Family, Sample

router = APIRouter(tags=["daemon"])

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TEXT = {"schema": {"type": "string"}}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": _TEXT}}}
)
async def metrics(request: Request) -> Response:
    """For this machine, and for an operator's token: they are every tenant's figures together."""
    if bearer_in(request) is not None or not _is_here(request):
        require_operator(await caller(request), "read the metrics")
    families = await services(request).metrics.families()
    return Response(text_of(families), media_type=MEDIA_TYPE)


def _is_here(request: Request) -> bool:
    """Whether it was asked on this machine, and not by a proxy for somebody elsewhere or by a web
    page that was led here."""
    if peer_in(request) is not None:
        return True
    headers = (*_FORWARDED, "origin", "sec-fetch-site")
    if request.client is None or any(name in request.headers for name in headers):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def text_of(families: Iterable[Family]) -> str:
    """The families, as Prometheus reads them."""
    lines = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        lines += [_line(family.name, sample) for sample in family.samples]
    return "\n".join(lines) + "\n"


def _line(name: str, sample: Sample) -> str:
    return f"{name}{sample.suffix}{_labels(sample.labels)} {float(sample.value):.10g}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
