"""Ids: 24 hex digits (an ObjectId) for users, devices, visitors and events; a UUID for commands."""

from __future__ import annotations

import re
import uuid

from bson import ObjectId

_OBJECT_ID = re.compile(r"[0-9a-f]{24}")


def new_id() -> str:
    return str(ObjectId())


def is_id(text: str) -> bool:
    return _OBJECT_ID.fullmatch(text) is not None


def new_command_id() -> str:
    return str(uuid.uuid4())
