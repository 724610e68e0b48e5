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
from doorlock.cli.output import Output
from doorlock.client import Client
from doorlock.paths import client_socket_candidates


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
        return Client(self.sockets, as_user=self.as_user)

    @property
    def sockets(self) -> list[Path]:
        """Where the daemon may be listening, the likeliest first."""
        if self.socket:
            return [Path(self.socket).expanduser()]
        return client_socket_candidates(self.env, os.getuid())

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


def session_from_process() -> Session:
    """The session of this process."""
    return Session(os.environ, sys.stdin, sys.stdout, sys.stderr)
