"""Reading device tokens: from a file, from stdin or from a prompt, never from an argument."""

from __future__ import annotations

import getpass
import json
import stat
import sys
from pathlib import Path
from typing import TextIO

from doorlock.errors import BadInput


def read_token(file: Path | None, *, stdin: TextIO | None = None) -> str:
    """One token: from `file` (`-` is stdin), else from a prompt. Raises BadInput."""
    if file is None:
        if not sys.stdin.isatty():
            raise BadInput("no token", hint="Pass --token-file FILE, or --token-file - for stdin.")
        text = getpass.getpass("Device token: ")
    elif str(file) == "-":
        text = (stdin or sys.stdin).readline()
    else:
        text = _read_private(file)
    token = text.strip()
    if not token or len(token.split()) != 1:
        raise BadInput("there is no single token in it", hint="A token is one line, 64 hex digits.")
    return token


def read_tokens(file: Path) -> dict[str, str]:
    """Several tokens: `{deviceId: token}` as JSON. Raises BadInput."""
    try:
        tokens = json.loads(_read_private(file))
    except ValueError:
        tokens = None
    if not isinstance(tokens, dict) or not all(isinstance(t, str) for t in tokens.values()):
        raise BadInput(f"{file} is not a JSON object of device ids and tokens")
    return tokens


def _read_private(file: Path) -> str:
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise BadInput(f"{file} can be read by others", hint=f"Run chmod 600 {file}.")
        return file.read_text()
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
