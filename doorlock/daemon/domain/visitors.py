"""Visitors: somebody rings or is seen at a door, and somebody else decides.

    pending -> granted | denied | expired

A picture, once it belongs to a visitor, is never exchanged for another: whoever decides, decides
of the one that they were shown. What a decision is made on is never changed after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

JOIN_WITHIN = timedelta(minutes=1)


class VisitorStatus(StrEnum):
    PENDING = "pending"
    GRANTED = "granted"
    DENIED = "denied"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody at the door of `device_id`, as the store keeps it.

    `image` is the SHA-256 of the picture. `decided_by` is the user who decided, `operator_id` an
    operator who did so for them. `version` counts the changes: a store writes a change only over
    the version that it was decided on.
    """

    id: str
    device_id: str
    opened_at: datetime
    expires_at: datetime
    status: VisitorStatus = VisitorStatus.PENDING
    image: str | None = None
    bell_pressed: bool = False
    message: str = ""
    decided_by: str | None = None
    operator_id: str | None = None
    decided_at: datetime | None = None
    note: str = ""
    command_id: str | None = None
    version: int = 0

    @property
    def is_pending(self) -> bool:
        return self.status is VisitorStatus.PENDING


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a camera tells of a visitor: a ring, a picture, or both."""

    bell: bool = False
    image: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What somebody decides. `image` is the picture that they were shown, None where none was;
    `any_image` when they did not say."""

    granted: bool
    by: str
    operator_id: str | None = None
    note: str = ""
    image: str | None = None
    any_image: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing changes, for this reason."""

    reason: str


def open_visitor(
    visitor_id: str, device_id: str, arrival: Arrival, now: datetime, expire_after: timedelta
) -> Visitor:
    return Visitor(
        visitor_id,
        device_id,
        now,
        now + expire_after,
        image=arrival.image,
        bell_pressed=arrival.bell,
        message=arrival.message,
    )


def join(visitor: Visitor, arrival: Arrival, now: datetime) -> Visitor | None:
    """`visitor` with what has arrived, itself where that is nothing new, or None where the arrival
    is somebody else: after a minute, after the decision, or with another picture."""
    late = now >= visitor.expires_at or now - visitor.opened_at > JOIN_WITHIN
    if late or not visitor.is_pending:
        return None
    if arrival.image and visitor.image and arrival.image != visitor.image:
        return None
    joined = replace(
        visitor,
        image=visitor.image or arrival.image,
        bell_pressed=visitor.bell_pressed or arrival.bell,
        message=visitor.message or arrival.message,
    )
    return visitor if joined == visitor else replace(joined, version=visitor.version + 1)


def decide(visitor: Visitor, verdict: Verdict, now: datetime) -> Visitor | Refused:
    """What `verdict` at `now` makes of `visitor`."""
    if not visitor.is_pending:
        return Refused(f"the visitor was {_PAST[visitor.status]} already")
    if now >= visitor.expires_at:
        return Refused("nobody decided in time, so the visitor has expired")
    if not verdict.any_image and verdict.image != visitor.image:
        return Refused("the visitor has another picture than the one that was decided on")
    return replace(
        visitor,
        status=VisitorStatus.GRANTED if verdict.granted else VisitorStatus.DENIED,
        decided_by=verdict.by,
        operator_id=verdict.operator_id,
        decided_at=now,
        note=verdict.note,
        version=visitor.version + 1,
    )


def expire(visitor: Visitor, now: datetime) -> Visitor | None:
    """`visitor` once it has waited long enough, None where it is not time or decided already."""
    if not visitor.is_pending or now < visitor.expires_at:
        return None
    return replace(
        visitor, status=VisitorStatus.EXPIRED, decided_at=now, version=visitor.version + 1
    )


def with_command(visitor: Visitor, command_id: str) -> Visitor:
    """`visitor`, granted, with the unlock that this led to."""
    return replace(visitor, command_id=command_id, version=visitor.version + 1)


_PAST = {
    VisitorStatus.GRANTED: "let in",
    VisitorStatus.DENIED: "turned away",
    VisitorStatus.EXPIRED: "given up on",
}
