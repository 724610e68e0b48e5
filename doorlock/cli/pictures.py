"""Pictures in a terminal: by its own protocol where it has one, else in half blocks of colour."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

_PNG = b"\x89PNG"
_CHUNK = 4096
_WIDEST = 80
_KITTY = {"xterm-kitty", "xterm-ghostty"}
_ITERM = {"iTerm.app", "WezTerm", "mintty"}


def drawing(content: bytes, env: Mapping[str, str], columns: int) -> str | None:
    """What draws the picture in a terminal of so many columns; None where nothing can."""
    if env.get("TERM_PROGRAM") in _ITERM:
        return _iterm(content)
    image = _opened(content)
    if env.get("TERM") in _KITTY or env.get("KITTY_WINDOW_ID"):
        if content.startswith(_PNG):
            return _kitty(content)
        if image is not None:
            return _kitty(_as_png(image))
    if image is None or env.get("TERM") in (None, "dumb") or env.get("NO_COLOR"):
        return None
    return "\n".join(_half_blocks(image, min(columns or _WIDEST, _WIDEST)))


def _opened(content: bytes) -> Any | None:
    """The picture decoded, where Pillow is installed and can."""
    try:
        from PIL import Image
    except ImportError:
        return None
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _iterm(content: bytes) -> str:
    body = b64encode(content).decode()
    return f"\x1b]1337;File=inline=1;size={len(content)};preserveAspectRatio=1:{body}\a"


def _kitty(png: bytes) -> str:
    body = b64encode(png).decode()
    pieces = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
    controls = ["f=100,a=T,", *[""] * (len(pieces) - 1)]
    return "".join(
        f"\x1b_G{control}m={int(number < len(pieces) - 1)};{piece}\x1b\\"
        for number, (control, piece) in enumerate(zip(controls, pieces, strict=True))
    )


def _as_png(image: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _half_blocks(image: Any, width: int) -> Iterator[str]:
    """Two pixels a cell, one above the other."""
    width = min(width, image.width)
    height = max(1, round(image.height * width / image.width / 2)) * 2
    pixels = image.resize((width, height)).load()
    for y in range(0, height, 2):
        cells = [_cell(pixels[x, y], pixels[x, y + 1]) for x in range(width)]
        yield "".join(cells) + "\x1b[0m"


def _cell(upper: tuple[int, int, int], lower: tuple[int, int, int]) -> str:
    front, back = ";".join(map(str, upper)), ";".join(map(str, lower))
    return f"\x1b[38;2;{front};48;2;{back}m▀"
