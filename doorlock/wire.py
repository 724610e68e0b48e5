"""What clients send to the daemon over HTTP; WIRE section 4. Field names are camelCase there.

What the daemon answers is built in `daemon.services.views`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from doorlock.protocol import DeviceType
from doorlock.times import parse_time


def _time(value: object) -> datetime | None:
    return None if value is None else parse_time(value)


def _printable(value: object) -> object:
    if isinstance(value, str):
        value = value.strip()
        if any(ord(char) < 32 or ord(char) == 127 for char in value):
            raise ValueError("control characters are not allowed")
    return value


def _given(value: object) -> object:
    """Forms send what was left empty as an empty string."""
    return (value.strip() or None) if isinstance(value, str) else value


def _unicode(value: object) -> object:
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("half a character is not allowed")
    return value


Time = Annotated[datetime | None, BeforeValidator(_time)]
Name = Annotated[str, BeforeValidator(_printable), Field(min_length=1, max_length=100)]
Text = Annotated[str, BeforeValidator(_printable), Field(max_length=200)]
Schedule = Annotated[
    Annotated[str, Field(max_length=500)] | None,
    BeforeValidator(_given),
    BeforeValidator(_printable),
]
EspId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$")]
Username = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
EMAIL_PATTERN, LONGEST_EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$", 254
Email = Annotated[str, Field(pattern=EMAIL_PATTERN, max_length=LONGEST_EMAIL)]


Secret = Annotated[str, BeforeValidator(_unicode), Field(repr=False)]
MaybeSecret = Annotated[str | None, BeforeValidator(_unicode), Field(repr=False)]
LoginName = Annotated[Annotated[str, Field(max_length=254)] | None, BeforeValidator(_given)]


class Body(BaseModel):
    """A request's body. Unknown fields are ignored: older clients send more than is used."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


class RegisterDevice(Body):
    name: Name
    esp_id: EspId
    device_type: DeviceType = DeviceType.DOOR_LOCK
    room: Text = ""
    location: Text = ""
    firmware_version: Text | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class ChangeDevice(Body):
    name: Name | None = None
    room: Text | None = None
    location: Text | None = None
    is_active: bool | None = None
    timezone: Annotated[str, Field(max_length=64)] | None = None
    settings: dict[str, Any] | None = None


class SendCommand(Body):
    """`wait` and `timeout` are in seconds; `wait` holds the answer until the outcome is known."""

    command: Annotated[str, Field(max_length=40)]
    payload: dict[str, Any] = Field(default_factory=dict)
    wait: Annotated[float, Field(ge=0, le=900)] | bool = 0
    timeout: Annotated[float, Field(gt=0, le=900)] | None = None
    dry_run: bool = False


class ShareDevice(Body):
    """Left open, `invite` is for whoever has no account and is named by an email address; True
    insists on a user or an address, False on a user."""

    user: Annotated[str, Field(min_length=1, max_length=254)]
    permission: Literal["view", "control", "admin"]
    starts_at: Time = None
    expires_at: Time = None
    schedule: Schedule = None
    invite: bool | None = None
    invite_expires_at: Time = None
    dry_run: bool = False


class AcceptInvitation(Body):
    code: Annotated[str, Field(min_length=1, max_length=100, repr=False)]


class TransferDevice(Body):
    user: Annotated[str, Field(min_length=1, max_length=254)]


class AcceptTransfer(Body):
    """`drop_shares` ends the shares that others have of the device."""

    drop_shares: bool = False


class Register(Body):
    """A sign-up. What else is sent, a role above all, counts for nothing."""

    username: Annotated[Username | None, BeforeValidator(_given)] = None
    email: Annotated[Email | None, BeforeValidator(_given)] = None
    name: Text = ""
    password: Secret
    invite_code: Annotated[
        Annotated[str, Field(max_length=100)] | None, BeforeValidator(_given), Field(repr=False)
    ] = None


class Login(Body):
    """Either of the two may hold either."""

    email: LoginName = None
    username: LoginName = None
    password: Secret


class ChangePassword(Body):
    current_password: MaybeSecret = None
    new_password: Secret


class SetPassword(Body):
    new_password: Secret


class CreateToken(Body):
    name: Name
    scope: Literal["view", "control", "admin"] = "view"
    expires_at: Time = None


class AddUser(Body):
    username: Username
    name: Text = ""
    email: Email | None = None
    role: Literal["user", "admin", "super_admin"] = "admin"
    password: MaybeSecret = None


class LinkUser(Body):
    uid: Annotated[int, Field(ge=0, le=2**32 - 2)]


class DecideVisitor(Body):
    """`image` is the picture that was shown when this was decided, null where none was; left out,
    the decision is on whatever picture there is when it is asked for."""

    visitor_log_id: Annotated[str, Field(max_length=64)]
    notes: Annotated[str, BeforeValidator(_printable), Field(max_length=1000)] | None = None
    image: Annotated[str | None, Field(max_length=64)] = None


class DeviceProof(Body):
    """How a device names and proves itself in a body."""

    device_id: Annotated[str, Field(max_length=64)]
    token: Annotated[str, Field(max_length=200)]
    type: str | None = None
    room: str | None = None


class Beat(Body):
    battery_level: Annotated[float, Field(ge=0, le=100)] | None = None
    status: Literal["online", "offline", "maintenance"] = "online"
    metadata: dict[str, Any] = Field(default_factory=dict)
