"""Pictures made by hand: small ones that can be looked at, and what hides beside a picture."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable

JPEG_1PX = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJ"
    "DRENDg8QEBEQCgwSExIQEw8QEBD/wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAACf/EABQQAQAAAAAAAAAA"
    "AAAAAAAAAAD/2gAIAQEAAD8AVN//2Q=="
)
"""A JPEG of one pixel, without any metadata."""


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg(extra: Iterable[bytes] = (), *, mark: bytes = b"", behind: bytes = b"") -> bytes:
    """One pixel; `extra` segments after the start, `behind` what hangs on after the end. `mark`
    makes it another picture than one with another mark."""
    table = segment(0xDD, b"\0\0") + segment(0xC4, mark) if mark else b""
    return JPEG_1PX[:2] + b"".join(extra) + table + JPEG_1PX[2:] + behind


def sized_jpeg(width: int, height: int) -> bytes:
    """One that claims to be so large."""
    at = JPEG_1PX.index(b"\xff\xc0") + 5
    return JPEG_1PX[:at] + struct.pack(">HH", height, width) + JPEG_1PX[at + 4 :]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    extra: Iterable[bytes] = (), *, width: int = 2, height: int = 2, behind: bytes = b""
) -> bytes:
    """Black pixels; `extra` chunks before what is drawn."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress(b"\0" * 3 * 2)
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(extra)
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
        + behind
    )


def gif(
    extra: Iterable[bytes] = (), *, width: int = 1, height: int = 1, behind: bytes = b""
) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + b"".join(extra) + frame + b"\x3b" + behind


def gif_extension(label: int, *blocks: bytes) -> bytes:
    return b"\x21" + bytes((label,)) + b"".join(bytes((len(b),)) + b for b in blocks) + b"\0"


def riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp(
    extra: Iterable[bytes] = (), *, width: int = 1, height: int = 1, flags: int = 0x2C
) -> bytes:
    """A lossless one with its extended header; `extra` chunks after what is drawn."""
    canvas = bytes((flags, 0, 0, 0)) + struct.pack("<I", width - 1)[:3]
    canvas += struct.pack("<I", height - 1)[:3]
    drawn = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x88\x88\x08"
    chunks = riff_chunk(b"VP8X", canvas) + riff_chunk(b"VP8L", drawn) + b"".join(extra)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def data_url(content: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64," + base64.b64encode(content).decode()
