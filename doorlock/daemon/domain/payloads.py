"""What each command may carry; WIRE section 2, "Daemon to device"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from doorlock.errors import BadInput
from doorlock.protocol import SHORT_NAMES, CommandName


class Payload(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", populate_by_name=True, frozen=True
    )


class Nothing(Payload):
    pass


class Unlock(Payload):
    duration: Annotated[int, Field(ge=1000, le=30_000)] = 5000


class Snapshot(Payload):
    quality: Literal["low", "medium", "high"] = "high"


class Settings(Payload):
    """What a device can be set to; at least one."""

    auto_lock_timeout: Annotated[int, Field(ge=1000, le=60_000)] | None = None
    motion_sensitivity: Annotated[int, Field(ge=0, le=100)] | None = None
    capture_mode: Literal["on_motion", "continuous", "manual"] | None = None
    enable_notifications: bool | None = None


class UpdateSettings(Payload):
    settings: Settings


class Firmware(Payload):
    version: Annotated[str, Field(min_length=1, max_length=100)]
    url: Annotated[str, Field(pattern=r"^https?://", max_length=2000)]
    checksum: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
    signature: Annotated[str, Field(min_length=1, max_length=2000)]


_KINDS: dict[CommandName, type[Payload]] = {
    CommandName.LOCK_DOOR: Nothing,
    CommandName.UNLOCK_DOOR: Unlock,
    CommandName.REQUEST_SNAPSHOT: Snapshot,
    CommandName.UPDATE_SETTINGS: UpdateSettings,
    CommandName.RESTART_DEVICE: Nothing,
    CommandName.FIRMWARE_UPDATE: Firmware,
}


def command_named(text: str) -> CommandName:
    """The command of that name or short name. Raises BadInput."""
    if text in SHORT_NAMES:
        return SHORT_NAMES[text]
    try:
        return CommandName(text)
    except ValueError as error:
        raise BadInput(
            "there is no such command", hint=f"Known are: {', '.join(CommandName)}."
        ) from error


def checked(name: CommandName, payload: Mapping[str, Any]) -> dict[str, Any]:
    """`payload` with its defaults, as it goes to the device. Raises BadInput, naming the field."""
    try:
        # what the wire's older clients add beside the fields is dropped; a wrong value is not
        kind = _KINDS[name]
        known = {field.alias or key for key, field in kind.model_fields.items()}
        found = kind.model_validate({k: v for k, v in payload.items() if k in known})
    except ValidationError as error:
        raise bad_fields(error, f"the payload of {name} cannot be used") from error
    return found.model_dump(by_alias=True, exclude_none=True)


def settings_checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As `checked`, for settings alone."""
    found: dict[str, Any] = checked(CommandName.UPDATE_SETTINGS, {"settings": settings})["settings"]
    if not found:
        raise BadInput("no setting was given")
    return found


def bad_fields(error: ValidationError, message: str) -> BadInput:
    """The BadInput that names each wrong field, without repeating what was sent."""
    errors = [
        {"field": ".".join(str(part) for part in found["loc"]), "message": found["msg"]}
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = f"{errors[0]['field']}: {errors[0]['message']}" if errors else ""
    return BadInput(message, hint=first, details={"errors": errors})
