"""The one seam where what the database says becomes what the services understand."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from doorlock.daemon.ports import Taken
from doorlock.errors import BadInput, Unavailable

_UNIQUE = re.compile(r"UNIQUE constraint failed: \w+\.(\w+)")
_HINTS = {
    "SQLITE_FULL": "Its disk is full: make room, then try again.",
    "SQLITE_IOERR": "Its disk does not read or write: see the system's log.",
    "SQLITE_BUSY": "Another program keeps it locked: close that program, then try again.",
    "SQLITE_READONLY": "The daemon may not write to it: see the owner and the mode of the file.",
    "SQLITE_CORRUPT": "The file is damaged: stop the daemon and restore a backup.",
    "SQLITE_NOTADB": "The file is not a database: restore a backup, or name another in store.url.",
    "SQLITE_CANTOPEN": "See the owner and the mode of the file and of its folder.",
}


class CannotBeKept(BadInput):
    """Text that is no Unicode, a number beyond 64 bits, or JSON nested beyond reason."""

    def __init__(self) -> None:
        super().__init__(
            "that holds something that cannot be kept",
            hint="Numbers must fit in 64 bits and text must be valid Unicode.",
        )


def unavailable(message: str, error: BaseException) -> Unavailable:
    """`message`, with the mend that fits the `error` beneath it, which is kept as the cause."""
    failure = Unavailable(message, hint=_hint(error))
    failure.__cause__ = error
    return failure


def _hint(error: BaseException) -> str:
    name = getattr(error, "sqlite_errorname", None) or ""
    hints = (hint for prefix, hint in _HINTS.items() if name.startswith(prefix))
    return next(hints, "The daemon's log says more.")


def taken(error: sqlite3.IntegrityError) -> Taken | None:
    """Whose uniqueness was hurt; None for any other constraint."""
    match = _UNIQUE.match(str(error))
    return Taken(match[1].removesuffix("_key")) if match else None


@contextmanager
def translated(message: str) -> Iterator[None]:
    """Driver errors inside come out as ours: Unavailable with `message`, Taken, or BadInput."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # a mistake in a statement, not in the store
    except sqlite3.IntegrityError as error:
        if whose := taken(error):
            raise whose from error
        raise
    except sqlite3.Error as error:
        raise unavailable(message, error) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise CannotBeKept from error
