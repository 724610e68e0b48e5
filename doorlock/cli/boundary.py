"""The one place where an error becomes words and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from typer._click.exceptions import ClickException, NoArgsIsHelpError
from typer.exceptions import Abort, Exit

from doorlock.cli.exit_codes import ExitCode, exit_code_for
from doorlock.cli.failures import CliFailure, error_object
from doorlock.cli.lazy import FORMATS, root
from doorlock.cli.output import visible
from doorlock.cli.registry import SECTIONS
from doorlock.cli.session import Session, session_from_process
from doorlock.errors import DoorlockError

COMPLETION_VARIABLE = "_DOORLOCK_COMPLETE"


def run_process() -> int:
    """Run the verb of this process's arguments; its output has gone out when this returns."""
    session = session_from_process()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:], session)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        return _close_quietly()
    return code


def run(arguments: Sequence[str], session: Session) -> int:
    """Run one verb; every failure is told and comes back as an exit code."""
    try:
        return _invoke(arguments, session)
    except (CliFailure, DoorlockError) as error:
        return _tell(error, session)
    except ClickException as error:
        return _tell_usage(error, arguments, session)
    except BrokenPipeError:
        return _close_quietly()
    except (KeyboardInterrupt, Abort):
        session.out.end_progress()
        return ExitCode.INTERRUPTED
    except Exception as error:
        if session.verbose:
            raise
        return _tell_unexpected(error, session)


def _invoke(arguments: Sequence[str], session: Session) -> int:
    command = root(SECTIONS)
    if instruction := session.env.get(COMPLETION_VARIABLE):
        return _complete(command, instruction, session)
    try:
        with command.make_context("doorlock", list(arguments), obj=session) as context:
            result = command.invoke(context)
    except Exit as end:
        return end.exit_code
    session.out.end_progress()
    return result if isinstance(result, int) else ExitCode.DONE


def _complete(command: Any, instruction: str, session: Session) -> int:
    from typer._completion_classes import completion_init
    from typer.completion import shell_complete

    completion_init()
    extra = {"obj": session}
    return shell_complete(command, extra, "doorlock", COMPLETION_VARIABLE, instruction)


def _tell(error: CliFailure | DoorlockError, session: Session) -> int:
    out = session.out
    if not out.for_people:
        out.emit_error(error_object(error), error.data if isinstance(error, CliFailure) else None)
    elif error.message:
        out.warn(out.style("doorlock: ", "red", out.stderr) + visible(error.message))
        for line in _hints(error):
            out.warn("  " + visible(line))
    return exit_code_for(error.code)


def _hints(error: CliFailure | DoorlockError) -> list[str]:
    details = error.details if isinstance(error, DoorlockError) else {}
    lines = [
        f"{match.get('name')}: {match.get('espId')}, {match.get('id')}"
        for match in details.get("matches", [])
    ]
    lines += [
        f"{wrong.get('field')}: {wrong.get('message')}" for wrong in details.get("errors", [])
    ]
    return [*lines, error.hint] if error.hint else lines


def _tell_usage(error: ClickException, arguments: Sequence[str], session: Session) -> int:
    context = getattr(error, "ctx", None)
    if isinstance(error, NoArgsIsHelpError) and context is not None:
        session.out.warn(error.format_message())
        return ExitCode.USAGE
    if session.out.for_people:
        session.out.format = _wanted_format(arguments)
    path = context.command_path if context is not None else "doorlock"
    failure = CliFailure("usage", error.format_message(), f"see: {path} --help")
    return _tell(failure, session)


def _wanted_format(arguments: Sequence[str]) -> str:
    """The format that was asked for in arguments that could not be parsed to their end."""
    for before, word in zip(["", *arguments], arguments, strict=False):
        for value in FORMATS:
            if word in {f"-o{value}", f"--output={value}"}:
                return value
            if word == value and before in {"-o", "--output"}:
                return value
    return FORMATS[0]


def _tell_unexpected(error: Exception, session: Session) -> int:
    failure = CliFailure(
        "unexpected",
        f"unexpected: {type(error).__name__}: {error}",
        "run it again with -v for the whole story",
    )
    return _tell(failure, session)


def _close_quietly() -> int:
    # What is still buffered has nowhere to go, and the interpreter would complain of it at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.BROKEN_PIPE
