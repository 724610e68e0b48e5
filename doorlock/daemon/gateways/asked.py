"""What a dashboard says, checked and typed; WIRE section 2, "Dashboard to daemon". Pure."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from doorlock.errors import BadInput

M = TypeVar("M", bound="Message")


def _text(value: object) -> object:
    return "" if value is None else value


def _object(value: object) -> object:
    return {} if value is None else value


Name = Annotated[str, Field(min_length=1, max_length=200)]
Note = Annotated[str, Field(max_length=2000), BeforeValidator(_text)]


class Message(BaseModel):
    """Unknown fields are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class OfDevice(Message):
    device_id: Name


class SendCommand(OfDevice):
    command: Name
    payload: Annotated[dict[str, Any], BeforeValidator(_object)] = Field(default_factory=dict)


class Decision(Message):
    visitor_id: Name
    approved: bool | None = None
    note: Note = ""
    reason: Note = ""


def read(kind: type[M], data: object) -> M:
    """Raises BadInput; its message is our own text and holds nothing of the client's."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "the message"
        missing = first["type"] == "missing"
        raise BadInput(f"{name} {'is missing' if missing else 'cannot be used'}") from None


def token_in(auth: object) -> str | None:
    """The token of a dashboard's handshake."""
    if not isinstance(auth, dict) or auth.get("clientType") not in (None, "dashboard"):
        return None
    token = auth.get("token")
    return token if isinstance(token, str) and token else None
