"""One run of the command line: what its global options chose, and the client they lead to."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TextIO

import typer

from doorlock.cli.failures import CliFailure
from doorlock.cli.logins import Logins
from doorlock.cli.output import Output
from doorlock.client import Client
from doorlock.paths import client_socket_candidates, login_file


class Session:
    """What every verb is handed, as the context's `obj`."""

    def __init__(
        self, env: Mapping[str, str], stdin: TextIO, stdout: TextIO, stderr: TextIO
    ) -> None:
        self.env = env
        self.stdin = stdin
        self.out = Output(stdout, stderr, env)
        self.socket: str | None = None
        self.as_user: str | None = None
        self.verbose = False
        self.no_input = False

    @staticmethod
    def of(context: typer.Context) -> Session:
        session: Session = context.find_root().obj
        return session

    @cached_property
    def client(self) -> Client:
        return Client(self.sockets, as_user=self.as_user, tokens=self.logins.tokens())

    @cached_property
    def logins(self) -> Logins:
        return Logins(login_file(self.env, os.getuid()))

    @property
    def sockets(self) -> list[Path]:
        """Where the daemon may be listening, the likeliest first."""
        chosen = [Path(self.socket).expanduser()] if self.socket else []
        found = chosen or client_socket_candidates(self.env, os.getuid())
        return [path.absolute() for path in found]  # what sign-ins are kept by

    def confirm(self, question: str, *, yes: bool) -> None:
        """Return only if the person agrees, by `-y` or at the terminal."""
        if yes:
            return
        if self.no_input or not self.stdin.isatty():
            raise CliFailure(
                "confirmation_needed",
                f"{question} That needs a confirmation, and there is no terminal to ask at.",
                "run it again with -y",
            )
        self.out.end_progress()
        self.out.stderr.write(f"{question} [y/N] ")
        self.out.stderr.flush()
        if self.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise CliFailure("declined", "nothing was done")

    def secret(self, question: str, *, from_stdin: bool) -> str:
        """A line of stdin, or what the person types, unseen, at the terminal."""
        if from_stdin:
            line = self.stdin.readline()
            if not line:
                raise CliFailure("usage", "a password was to come from stdin, and it has ended")
            return line.rstrip("\r\n")
        if self.no_input or not self.stdin.isatty():
            raise CliFailure(
                "usage",
                "That needs a password, and there is no terminal to ask at.",
                "give it on stdin, with --password-stdin",
            )
        from getpass import getpass

        self.out.end_progress()
        return getpass(question)

    def new_secret(self, *, from_stdin: bool) -> str:
        """A new password, which a person types twice."""
        new = self.secret("New password: ", from_stdin=from_stdin)
        if not from_stdin and self.secret("Once more: ", from_stdin=False) != new:
            raise CliFailure("usage", "those were two different passwords", "nothing was changed")
        return new


def session_from_process() -> Session:
    """The session of this process."""
    return Session(os.environ, sys.stdin, sys.stdout, sys.stderr)
