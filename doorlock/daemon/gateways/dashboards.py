"""People's dashboards over Socket.IO: who they are, what they ask, and what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from socketio.exceptions import ConnectionRefusedError as Refused

from doorlock.daemon.domain.rates import Bucket
from doorlock.daemon.domain.users import Caller
from doorlock.daemon.gateways.asked import (
    Decision,
    M,
    OfDevice,
    SendCommand,
    read,
    token_in,
)
from doorlock.daemon.ports import Clock
from doorlock.daemon.services.clock import Agenda
from doorlock.daemon.services.desk import Desk, Seat
from doorlock.daemon.services.sessions import InvalidUser, Sessions
from doorlock.errors import BadInput, DoorlockError, NotAuthenticated, RateLimited
from doorlock.times import iso, utc_now

log = structlog.get_logger("doorlock.dashboards")

_BURST, _PER_SECOND = 50, 10
_TOO_FAR_BEHIND = 2000  # messages that wait for one who does not read: nobody looks any more
_BEHIND = 4  # then frames are left out


class _Dashboard(Seat):
    """A socket, with its user and its limits."""

    def __init__(self, sid: str, caller: Caller, owner: Dashboards, now: datetime) -> None:
        super().__init__(caller, self._say)
        self.sid, self._owner = sid, owner
        self.limit = Bucket(_BURST, _PER_SECOND, now)

    async def _say(self, event: str, data: Mapping[str, Any]) -> None:
        await self._owner.say(self, event, data)


Answer = Callable[[_Dashboard, object], Awaitable[dict[str, Any]]]


class Dashboards:
    """The sockets of people on a server that they share with the devices."""

    def __init__(self, sessions: Sessions, desk: Desk, agenda: Agenda, clock: Clock) -> None:
        self._sessions, self._desk = sessions, desk
        self._agenda, self._clock = agenda, clock
        self._sio: Any = None
        self._open: dict[str, _Dashboard] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._wakes_at: datetime | None = None
        self.rejected_count = 0
        sessions.on_ended(self.ended)
        self._answers: Mapping[str, Answer] = {
            "subscribe_device": self._subscribe,
            "unsubscribe_device": self._unsubscribe,
            "send_command": self._send_command,
            "request_device_status": self._status,
            "visitor_approval": self._approve,
            "visitor_rejection": self._reject,
        }

    def attach(self, sio: Any) -> None:
        """The server, known once it is built."""
        self._sio = sio

    def __contains__(self, sid: str) -> bool:
        return sid in self._open

    def __len__(self) -> int:
        return len(self._open)

    # coming and going

    async def connect(self, sid: str, environ: Mapping[str, Any], auth: object) -> None:
        """Raises Refused, in the words of WIRE section 1."""
        caller = replace(
            await self._proven(auth),
            source="websocket",
            socket_id=sid,
            ip_address=_address(environ),
            user_agent=str(environ.get("HTTP_USER_AGENT", ""))[:200] or None,
        )
        dashboard = _Dashboard(sid, caller, self, self._clock.now())
        self._open[sid] = dashboard
        # the client is told that it is connected after this returns: nothing may be sent before
        task = asyncio.ensure_future(self._opened(dashboard))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _proven(self, auth: object) -> Caller:
        token = token_in(auth)
        if token is None:
            raise Refused("Authentication required")
        try:
            return await self._sessions.by_token(token)
        except InvalidUser as error:
            raise Refused("Invalid user") from error
        except NotAuthenticated as error:
            raise Refused("Invalid token") from error
        except DoorlockError as error:
            log.warning("a dashboard could not be checked", error=error.message)
            raise Refused("Service unavailable") from error

    async def _opened(self, dashboard: _Dashboard) -> None:
        await asyncio.sleep(0)
        if not self._sio.manager.is_connected(dashboard.sid, "/"):
            self._open.pop(dashboard.sid, None)  # it left while it was being checked
            return
        # what it came with may have ended in the meantime
        if not await self._is_live(dashboard):
            await self._cut(dashboard)
        elif dashboard.sid in self._open:
            self._desk.sit(dashboard)
            self._wake_at_next_end()

    async def _is_live(self, dashboard: _Dashboard) -> bool:
        try:
            return await self._sessions.is_live(dashboard.caller)
        except DoorlockError:
            return False

    async def disconnect(self, sid: str) -> None:
        dashboard = self._open.pop(sid, None)
        if dashboard is not None:
            self._desk.leave(dashboard)

    async def ended(self, user_id: str, jti: str | None) -> None:
        """Tokens of a user have ended, all of them without a `jti`: so do their sockets."""
        callers = [(dashboard, dashboard.caller) for dashboard in self._open.values()]
        await self._cut(
            *(
                dashboard
                for dashboard, caller in callers
                if caller.user.id == user_id and jti in (None, caller.jti)
            )
        )

    async def _cut(self, *gone: _Dashboard) -> None:
        """None of them is told or heard from here on, however long it takes to say goodbye."""
        for dashboard in gone:
            await self.disconnect(dashboard.sid)
        goodbyes = (self._sio.disconnect(dashboard.sid) for dashboard in gone)
        await asyncio.gather(*goodbyes, return_exceptions=True)

    def _wake_at_next_end(self) -> None:
        ends = [dashboard.caller.token_expires_at for dashboard in self._open.values()]
        next_end = min((end for end in ends if end is not None), default=None)
        if next_end is not None and (self._wakes_at is None or next_end < self._wakes_at):
            self._wakes_at = next_end
            self._agenda.at(next_end, self._end_expired)

    async def _end_expired(self) -> None:
        self._wakes_at, now = None, self._clock.now()
        ends = [(dashboard, dashboard.caller.token_expires_at) for dashboard in self._open.values()]
        await self._cut(*(dashboard for dashboard, end in ends if end is not None and end <= now))
        self._wake_at_next_end()

    # telling

    async def say(self, dashboard: _Dashboard, event: str, data: Mapping[str, Any]) -> None:
        """Never waits for whoever reads slowly: they miss frames, and in the end are cut off."""
        if self._open.get(dashboard.sid) is not dashboard:
            return
        behind = self._behind(dashboard.sid)
        if event == "frame" and behind > _BEHIND:
            return
        if behind > _TOO_FAR_BEHIND:
            log.info("a dashboard reads too slowly", user=dashboard.caller.user.id)
            await self._cut(dashboard)
            return
        await self._sio.emit(event, dict(data), to=dashboard.sid)

    def _behind(self, sid: str) -> int:
        """How many packets wait to go out."""
        engine_id = self._sio.manager.eio_sid_from_sid(sid, "/")
        connection = self._sio.eio.sockets.get(engine_id)
        return 0 if connection is None else int(connection.queue.qsize())

    # asking

    async def message(self, event: str, sid: str, data: object) -> dict[str, Any]:
        """Answer one message; what it returns is the acknowledgement, where one is asked for."""
        dashboard = self._open[sid]
        if not await self._is_live(dashboard):
            await self._cut(dashboard)
            return {"success": False, "message": "Invalid token", "code": "not_authenticated"}
        try:
            answered = await self._answered(dashboard, event, data)
        except DoorlockError as error:
            return await self._complain(dashboard, error.message, error.code)
        except Exception:
            log.exception("a message could not be handled", event_name=event)
            return await self._complain(dashboard, "the message could not be handled", "unexpected")
        return {**answered, "success": True, "timestamp": iso(utc_now())}

    async def _answered(self, dashboard: _Dashboard, event: str, data: object) -> dict[str, Any]:
        if not dashboard.limit.take(self._clock.now()):
            raise RateLimited("too many messages", hint="Send fewer.")
        answer = self._answers.get(event)
        if answer is None:
            self.rejected_count += 1
            raise BadInput("the event is not known")
        return await answer(dashboard, data)

    def _read(self, kind: type[M], data: object) -> M:
        try:
            return read(kind, data)
        except BadInput:
            self.rejected_count += 1
            raise

    async def _complain(self, dashboard: _Dashboard, message: str, code: str) -> dict[str, Any]:
        await self.say(dashboard, "error", {"message": message})
        return {"success": False, "message": message, "code": code}

    async def _subscribe(self, dashboard: _Dashboard, data: object) -> dict[str, Any]:
        wanted = self._read(OfDevice, data)
        device = await self._desk.subscribe(dashboard, wanted.device_id)
        return await self._reply(dashboard, "subscribed", {"deviceId": device.id})

    async def _unsubscribe(self, dashboard: _Dashboard, data: object) -> dict[str, Any]:
        wanted = self._read(OfDevice, data)
        device_id = await self._desk.unsubscribe(dashboard, wanted.device_id)
        return await self._reply(dashboard, "unsubscribed", {"deviceId": device_id})

    async def _send_command(self, dashboard: _Dashboard, data: object) -> dict[str, Any]:
        wanted = self._read(SendCommand, data)
        submitted = await self._desk.send(
            dashboard, wanted.device_id, wanted.command, wanted.payload
        )
        command = submitted.command
        reply = {
            "commandId": command.id,
            "deviceId": command.device_id,
            "command": command.name.value,
            "status": command.status.value,
        }
        return await self._reply(dashboard, "command_sent", reply)

    async def _status(self, dashboard: _Dashboard, data: object) -> dict[str, Any]:
        wanted = self._read(OfDevice, data)
        status = await self._desk.status(dashboard, wanted.device_id)
        return await self._reply(dashboard, "device_status_response", status)

    async def _approve(self, dashboard: _Dashboard, data: object) -> dict[str, Any]:
        return await self._decide(dashboard, self._read(Decision, data), granted=True)

    async def _reject(self, dashboard: _Dashboard, data: object) -> dict[str, Any]:
        return await self._decide(dashboard, self._read(Decision, data), granted=False)

    async def _decide(
        self, dashboard: _Dashboard, wanted: Decision, granted: bool
    ) -> dict[str, Any]:
        if wanted.approved not in (None, granted):
            self.rejected_count += 1
            raise BadInput("approved says something else than the event")
        note = wanted.note or wanted.reason
        decided = await self._desk.decide(dashboard, wanted.visitor_id, granted, note)
        if decided.error is not None:  # the decision stands, and the door did not open
            await self.say(dashboard, "error", {"message": decided.error.message})
        return {
            "visitorId": decided.visitor.id,
            "status": "approved" if granted else "rejected",
            "decision": decided.visitor.status.value,
            "commandId": decided.visitor.command_id,
            "errorMessage": decided.error.message if decided.error else None,
        }

    async def _reply(
        self, dashboard: _Dashboard, event: str, data: dict[str, Any]
    ) -> dict[str, Any]:
        await self.say(dashboard, event, data)
        return data


def _address(environ: Mapping[str, Any]) -> str | None:
    client = environ.get("asgi.scope", {}).get("client")
    return str(client[0]) if client else None
