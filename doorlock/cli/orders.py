"""Giving a command to devices and waiting for what becomes of it.

Every target is told first and waited for afterwards, so that several doors move at once. What is
printed is what the device confirmed: an outcome that is unknown is said to be unknown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from doorlock.cli import views
from doorlock.cli.exit_codes import exit_code_for
from doorlock.cli.failures import CliFailure, error_object
from doorlock.cli.output import visible
from doorlock.cli.session import Session
from doorlock.client import Client
from doorlock.client_wire import Answer, ConnectionLost, ServerEvent, TooSlow, device_path
from doorlock.errors import DaemonUnreachable, DoorlockError
from doorlock.protocol import FINISHED, IDEMPOTENCY_HEADER, CommandName, CommandStatus
from doorlock.times import parse_time

GRACE = 5.0
"""Seconds past the daemon's own deadline before the outcome is called unknown."""
BOLT_COMMANDS = frozenset({CommandName.LOCK_DOOR, CommandName.UNLOCK_DOOR})
Problem = CliFailure | DoorlockError


class Order(NamedTuple):
    """What every target is told."""

    command: CommandName
    payload: Mapping[str, Any]
    wait: bool = True
    timeout: float | None = None
    dry_run: bool = False


@dataclass
class Target:
    """One device, and how far its command has come."""

    ref: str
    began: float = field(default_factory=time.monotonic)
    command: dict[str, Any] = field(default_factory=dict)
    position: int | None = None
    door: dict[str, Any] = field(default_factory=dict)
    problem: Problem | None = None

    @property
    def name(self) -> str:
        device = self.command.get("device")
        named = device.get("name") if isinstance(device, dict) else None
        return str(self.command.get("deviceName") or self.door.get("name") or named or self.ref)

    @property
    def is_over(self) -> bool:
        return self.command.get("status") in FINISHED

    def as_data(self) -> dict[str, Any]:
        """The target as scripts read it: the command's own fields and what came of it."""
        shown: dict[str, Any] = {"device": self.ref, "ok": self.problem is None, **self.command}
        for name in ("lockState", "lockStateSource", "lockStateAt"):
            if name in self.door:
                shown[name] = self.door[name]
        if self.problem is not None:
            shown["error"] = error_object(self.problem)
        return shown


def give(session: Session, order: Order, refs: Sequence[str]) -> None:
    """Carry the order out on every device. Raises what went wrong: for one device its failure,
    for several that share of them which failed."""
    targets: list[Target] = []
    try:
        for ref in dict.fromkeys(refs):
            targets.append(_submit(session.client, order, ref))
        for target in targets:
            see_through(session, order, target)
    except KeyboardInterrupt:
        raise interrupted(targets) from None
    _conclude(session, targets)


def _submit(client: Client, order: Order, ref: str) -> Target:
    target = Target(ref)
    try:
        answer = _post(client, order, ref)
        target.command, target.position = dict(answer.data), answer.position
    except (DoorlockError, CliFailure) as error:
        target.problem = error
    return target


def _post(client: Client, order: Order, ref: str) -> Answer:
    body: dict[str, Any] = {"command": order.command, "payload": dict(order.payload)}
    if order.timeout is not None:
        body["timeout"] = order.timeout
    if order.dry_run:
        body["dryRun"] = True
    key = {IDEMPOTENCY_HEADER: os.urandom(16).hex()}
    path = device_path(ref, "command")
    try:
        try:
            return client.post(path, body, headers=key)
        except ConnectionLost:
            return _post_again(client, path, body, key)
    except (ConnectionLost, TooSlow):
        raise CliFailure(
            "timed_out",
            f"the daemon went away while it was told of {ref}: what became of it is unknown",
            f"see what it did once it is back: doorlock command ls --device {ref}",
        ) from None


def _post_again(client: Client, path: str, body: dict[str, Any], key: dict[str, str]) -> Answer:
    """The key makes it the same command: if the first was taken, this one joins it. A daemon that
    has gone by now may still have taken it."""
    try:
        return client.post(path, body, headers=key)
    except DaemonUnreachable:
        raise ConnectionLost from None


def see_through(session: Session, order: Order, target: Target) -> None:
    """Wait for one target where that is wanted, and tell its success."""
    if target.problem is None and order.wait and not order.dry_run:
        _await_outcome(session, target)
        target.problem = judge(order.command, target)
    if target.problem is None and session.out.for_people and not session.out.quiet:
        for line in _success(order, target):
            session.out.write(line)
        session.out.stdout.flush()


def _await_outcome(session: Session, target: Target) -> None:
    try:
        _follow(session, target)
        target.command |= _result(session.client, target)
        target.door = session.client.get(device_path(str(target.command["deviceId"]))).data
    except DaemonUnreachable:
        target.problem = None if target.is_over else _unknown(target, "the daemon went away")
    except DoorlockError as error:
        # The device may have been taken from this user meanwhile; the outcome stands.
        if not target.is_over:
            target.problem = error
    finally:
        session.out.end_progress()


def _follow(session: Session, target: Target) -> None:
    """Read the stream until the command is over, or until nothing can come of it any more."""
    deadline = time.monotonic() + _patience(target.command)
    query = {"command": target.command["commandId"]}
    _show_progress(session, target)
    try:
        if target.is_over:
            return
        for event in session.client.follow(query, after=target.position, deadline=deadline):
            _take(target, event)
            _show_progress(session, target)
            if target.is_over:
                return
    except TimeoutError:
        return


def _take(target: Target, event: ServerEvent) -> None:
    if not event.name.startswith("command_") or not isinstance(event.data, dict):
        return
    payload = event.data.get("payload") or {}
    target.command["status"] = payload.get("status") or event.name.removeprefix("command_")
    for name in ("via", "errorMessage"):
        if payload.get(name):
            target.command[name] = payload[name]


def _patience(command: Mapping[str, Any]) -> float:
    """Seconds until the daemon must have decided, by its own two times: clocks may differ."""
    allowed = parse_time(command["expiresAt"]) - parse_time(command["issuedAt"])
    duration = (command.get("payload") or {}).get("duration") or 0
    return allowed.total_seconds() + float(duration) / 1000 + GRACE


def _result(client: Client, target: Target) -> dict[str, Any]:
    answer = client.get(f"/api/command/{target.command['commandId']}")
    result: dict[str, Any] = answer.data
    return result


def _show_progress(session: Session, target: Target) -> None:
    via = f" via {target.command['via']}" if target.command.get("via") else ""
    status = target.command.get("status")
    session.out.progress(f"{visible(target.name)}: {visible(status)}{visible(via)}…")


def judge(command: CommandName, target: Target) -> Problem | None:
    """What is wrong with the outcome, if anything is."""
    status, name = target.command.get("status"), target.name
    if target.problem is not None:
        return target.problem
    if status in {CommandStatus.EXECUTED, CommandStatus.EXECUTED_LATE}:
        return _disbelief(command, target) if command in BOLT_COMMANDS else None
    reason = target.command.get("errorMessage")
    if status == CommandStatus.FAILED:
        code = "jammed" if target.door.get("lockState") == "jammed" else "failed"
        said = f"{name}: the device failed: {reason or 'it gave no reason'}"
        return CliFailure(code, said, f"look at the door; its state: doorlock show {target.ref}")
    if status in {CommandStatus.EXPIRED, CommandStatus.CANCELLED}:
        why = f" ({reason})" if reason else ""
        said = f"{name}: {status} before it was sent{why}: nothing happened"
        return CliFailure(str(status), said, "give the command again if it is still wanted")
    return _unknown(target, "the device did not confirm in time")


def _unknown(target: Target, why: str) -> CliFailure:
    return CliFailure(
        "timed_out",
        f"{target.name}: timed out: {why}, so whether it acted is unknown",
        f"look at the door; what is known of it: doorlock show {target.ref}",
    )


def _disbelief(command: CommandName, target: Target) -> CliFailure | None:
    """An ack is not a moved bolt: what the door itself says since then counts for more."""
    state = target.door.get("lockState")
    if state in {"jammed", "error"}:
        said = f"{target.name}: executed, but the door reports {state}"
        return CliFailure("jammed", said, "look at the door")
    if command == CommandName.LOCK_DOOR and state == "unlocked" and _sensed_since(target):
        said = f"{target.name}: the device says executed, but its sensor says unlocked"
        return CliFailure("failed", said, "look at the door")
    return None


def _sensed_since(target: Target) -> bool:
    sensed, sent = target.door.get("lockStateAt"), target.command.get("sentAt")
    if target.door.get("lockStateSource") != "sensor" or not sensed or not sent:
        return False
    return parse_time(sensed) >= parse_time(sent)


def _success(order: Order, target: Target) -> list[str]:
    name = visible(target.name)
    if order.dry_run:
        via = target.command.get("via")
        return [f"{name}: {order.command} would be sent" + (f" via {via}" if via else "")]
    status = str(target.command.get("status")).replace("_", " ")
    if not order.wait:
        return [f"{name}: {status}; not waiting for command {target.command.get('commandId')}"]
    line = f"{name}: {status} in {views.span(time.monotonic() - target.began)}"
    if via := target.command.get("via"):
        line += f" via {via}"
    if order.command in BOLT_COMMANDS and target.door:
        line += f"; door {views.door(target.door)}"
    late = target.command.get("status") == CommandStatus.EXECUTED_LATE
    return [visible(line + ("; it confirmed later than it should have" if late else ""))]


def _conclude(session: Session, targets: Sequence[Target]) -> None:
    problems = [target.problem for target in targets if target.problem is not None]
    data = [target.as_data() for target in targets]
    if not problems:
        session.out.emit(data if len(data) > 1 else data[0])
        return
    if len(targets) == 1:
        problem = problems[0]
        if isinstance(problem, CliFailure) and targets[0].command:
            problem.data = data[0]
        raise problem
    raise _several(session, problems, len(targets), data)


def _several(session: Session, problems: list[Problem], total: int, data: Any) -> CliFailure:
    """Each failure told, and one that stands for them all."""
    if session.out.for_people:
        for problem in problems:
            told = visible(problem.message) + (
                f"\n  {visible(problem.hint)}" if problem.hint else ""
            )
            session.out.warn(session.out.style("doorlock: ", "red", session.out.stderr) + told)
    if len(problems) < total:
        done = total - len(problems)
        return CliFailure("partial", f"{done} of {total} done", data=data)
    alike = len({exit_code_for(problem.code) for problem in problems}) == 1
    code = problems[0].code if alike else "unexpected"
    return CliFailure(code, f"none of {total} done", data=data)


def interrupted(targets: Sequence[Target]) -> CliFailure:
    """What to say when ctrl-c ended the waiting."""
    running = [target for target in targets if target.command and not target.is_over]
    ids = " ".join(str(target.command.get("commandId")) for target in running[:1])
    said = "stopped waiting; the command itself goes on"
    return CliFailure(
        "interrupted",
        said if running else "interrupted; the command may have been taken",
        f"see what becomes of it: doorlock command show {ids}" if ids else None,
        [target.as_data() for target in targets] or None,
    )
