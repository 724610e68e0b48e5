"""What goes to stdout and stderr: stdout is data, stderr is for people.

Names of devices and users are untrusted: whatever is shown goes through `visible`. Tables are laid
out here rather than by a library, which a quick verb would wait for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

SCHEMA = 1
GAP = "  "
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
# Marks that reorder or hide what stands around them.
DECEPTIVE = {*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0x61C, 0xFEFF}


class Cell(NamedTuple):
    """One cell of a table, with the style that it has where there is colour."""

    text: str
    style: str = ""


Lines = Callable[[], Iterable[str]]


class Output:
    """The two streams, and how they are to be written."""

    def __init__(self, stdout: TextIO, stderr: TextIO, env: Mapping[str, str]) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.env = env
        self.format = "table"
        self.quiet = False
        self.no_color = False
        self._progress = False

    @property
    def for_people(self) -> bool:
        return self.format == "table"

    def emit(self, data: Any, lines: Lines | None = None) -> None:
        """The verb's answer: `data` for scripts, `lines` for people."""
        if self.format == "json":
            self.write(dump({"schema": SCHEMA, "ok": True, "data": data}, indent=2))
        elif self.format == "ndjson":
            for item in data if isinstance(data, list) else [data]:
                self.write(dump(item))
        elif lines is not None:
            for line in lines():
                self.write(line)

    def emit_error(self, error: Mapping[str, Any], data: Any = None) -> None:
        """The failure, as the one object that scripts get."""
        envelope = {"schema": SCHEMA, "ok": False, "error": error}
        if data is not None:
            envelope["data"] = data
        self.write(dump(envelope, indent=2 if self.format == "json" else None))

    def write(self, line: str) -> None:
        self.end_progress()
        self.stdout.write(line + "\n")

    def note(self, text: str) -> None:
        """Something that a person should know; silent with -q, and never data."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        self.end_progress()
        self.stderr.write(text + "\n")
        self.stderr.flush()

    def progress(self, text: str) -> None:
        """What is going on right now: one line of a terminal, overwritten by the next."""
        if self.quiet or not self.stderr.isatty():
            return
        self.stderr.write(f"\r\x1b[K{text}")
        self.stderr.flush()
        self._progress = True

    def end_progress(self) -> None:
        if self._progress:
            self.stderr.write("\r\x1b[K")
            self.stderr.flush()
            self._progress = False

    def style(self, text: str, style: str, stream: TextIO | None = None) -> str:
        if not style or not text or not self.has_colour(stream or self.stdout):
            return text
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m"

    def has_colour(self, stream: TextIO) -> bool:
        if self.no_color or self.env.get("NO_COLOR"):
            return False
        if self.env.get("FORCE_COLOR"):
            return True
        return stream.isatty() and self.env.get("TERM") != "dumb"

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> Iterable[str]:
        """Aligned columns, cut to the width of a terminal; into a pipe they go whole."""
        body = [[_cell(value) for value in row] for row in rows]
        head = [Cell(text, "bold") for text in headers]
        widths = [max(map(text_width, column)) for column in _texts([head, *body])]
        widths = fit(widths, self.columns())
        for row in [head, *body]:
            yield GAP.join(self._fill(*pair) for pair in zip(row, widths, strict=True)).rstrip()

    def record(self, fields: Iterable[tuple[str, str | Cell]]) -> Iterable[str]:
        """One thing, a field a line."""
        pairs = [(name, _cell(value)) for name, value in fields]
        widest = max(len(name) for name, _ in pairs)
        for name, cell in pairs:
            label = self.style(name.ljust(widest), "dim")
            yield f"{label}{GAP}{self.style(cell.text, cell.style)}".rstrip()

    def columns(self) -> int:
        """The width of the terminal, 0 where there is none."""
        if not self.stdout.isatty():
            return 0
        if (chosen := self.env.get("COLUMNS", "")).isdigit():
            return int(chosen)
        try:
            return os.get_terminal_size(self.stdout.fileno()).columns
        except OSError:
            return 80

    def _fill(self, cell: Cell, width: int) -> str:
        text = clip(cell.text, width)
        return self.style(text, cell.style) + " " * (width - text_width(text))


def dump(value: Any, indent: int | None = None) -> str:
    # Escaped to ASCII, so that no name can reach the terminal as a control sequence.
    return json.dumps(value, indent=indent)


def visible(value: object) -> str:
    """`value` as text that does nothing to a terminal: control characters show as escapes."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    code = ord(character)
    if (character.isprintable() or character == " ") and code not in DECEPTIVE:
        return character
    return character.encode("unicode_escape").decode("ascii")


def text_width(text: str) -> int:
    """How many columns a terminal gives `text`."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    wide = sum(east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(1 for character in text if combining(character))


def clip(text: str, width: int) -> str:
    """`text` in at most `width` columns, its end replaced by `…` where it is longer."""
    if text_width(text) <= width:
        return text
    while text and text_width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def fit(widths: list[int], total: int, narrowest: int = 6) -> list[int]:
    """The widths narrowed, the widest first, until they fit `total` columns; 0 is no limit."""
    widths = list(widths)
    while total and sum(widths) + len(GAP) * (len(widths) - 1) > total:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= narrowest:
            break
        widths[widest] -= 1
    return widths


def _cell(value: str | Cell) -> Cell:
    text, style = value if isinstance(value, Cell) else (value, "")
    return Cell(visible(text), style)


def _texts(rows: Sequence[Sequence[Cell]]) -> Iterable[tuple[str, ...]]:
    return zip(*([cell.text for cell in row] for row in rows), strict=True)
