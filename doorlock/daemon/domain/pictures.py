"""Pictures from cameras: known by their content, and cleared of everything that is not picture.

Nothing is decoded. The parts that a picture is drawn from are copied one by one, each checked for
its place and size; whatever else is there (EXIF, XMP, comments, thumbnails, what hangs on behind
the end) is left out.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from doorlock.errors import BadInput, TooLarge

MAX_BYTES = 5 * 1024 * 1024
MAX_SIDE = 16_384
MAX_PIXELS = 50_000_000
_MAX_FRAMES = 500

JPEG, PNG, GIF, WEBP = "image/jpeg", "image/png", "image/gif", "image/webp"


class BadPicture(BadInput):
    """It is no picture that can be taken; the message says why, in our own words."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a device took; `image`, the SHA-256 of its content, is its name."""

    device_id: str
    image: str
    taken_at: datetime


def media_type(content: bytes) -> str | None:
    """What the first bytes say that it is; None for anything that is not taken."""
    if content.startswith(b"\xff\xd8\xff"):
        return JPEG
    if content.startswith(_PNG_SIGNATURE):
        return PNG
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return GIF
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return WEBP
    return None


def stripped(content: bytes) -> bytes:
    """`content` as a picture and nothing else. Raises BadPicture, TooLarge, and only those."""
    if len(content) > MAX_BYTES:
        raise TooLarge(
            f"the picture is larger than {MAX_BYTES // 1024 // 1024} MiB",
            hint="Send a smaller one.",
        )
    kind = media_type(content)
    if kind is None:
        raise BadPicture("that is no picture", hint="Send a JPEG, PNG, GIF or WebP.")
    out = b"".join(_PARTS_OF[kind](_Reader(content)))
    return _riff(out) if kind == WEBP else out


def from_text(text: str) -> bytes:
    """The bytes of base64 text, as it stands or in a data URL. Raises BadPicture, TooLarge."""
    if text[:5].lower() == "data:":
        head, separator, text = text.partition(",")
        if not separator or not head.lower().endswith(";base64"):
            raise BadPicture("the data URL holds no base64 text")
    if len(text) > MAX_BYTES * 4 // 3 + 64 * 1024:
        raise TooLarge("the picture is too large", hint="Send a smaller one.")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadPicture("the picture is not valid base64") from None


class _Reader:
    """Bytes from the front to the end. Raises BadPicture where there are too few."""

    def __init__(self, content: bytes, at: int = 0) -> None:
        self.content, self.at = content, at

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.content):
            raise BadPicture("the picture is incomplete")
        self.at += count
        return self.content[self.at - count : self.at]

    def number(self, count: int, order: str = "big") -> int:
        return int.from_bytes(self.take(count), order)  # type: ignore[arg-type]

    @property
    def left(self) -> int:
        return len(self.content) - self.at


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise BadPicture("the picture has no size")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise BadPicture("the picture has too many pixels", hint="Send a smaller one.")


def _damaged() -> BadPicture:
    return BadPicture("the picture is damaged")


# JPEG: markers, each with a segment; after a start of scan comes what it codes, up to a marker

_SOI, _EOI, _SOS, _SOF = 0xD8, 0xD9, 0xDA, {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TABLES = {0xC4, 0xCC, 0xDB, 0xDD}  # Huffman, arithmetic, quantization, restart interval
_APP0, _APP14 = 0xE0, 0xEE
_STANDING_ALONE = {0x01, *range(0xD0, 0xD8)}


def _jpeg(reader: _Reader) -> Iterator[bytes]:
    yield reader.take(2)
    framed = scanned = False
    while (marker := _marker(reader)) is not None and marker != _EOI:
        if marker in _STANDING_ALONE:
            continue
        body = reader.take(_segment_length(reader))
        if marker in _SOF:
            if framed:
                raise _damaged()
            framed = True
            _check_frame(body)
        if marker == _SOS:
            if not framed or len(body) < 6:
                raise _damaged()
            scanned = True
        yield from _segment(marker, body)
        if marker == _SOS:
            yield _coded(reader)
    if not scanned:
        raise BadPicture("the picture is incomplete")
    yield bytes((0xFF, _EOI))  # small cameras forget it


def _marker(reader: _Reader) -> int | None:
    """The next marker; None at the end of what there is."""
    if reader.left < 2:
        return None
    if reader.number(1) != 0xFF:
        raise _damaged()
    while reader.left and (code := reader.number(1)) == 0xFF:
        pass
    if code in (0x00, 0xFF, _SOI):
        raise _damaged()
    return code


def _segment_length(reader: _Reader) -> int:
    length = reader.number(2)
    if length < 2:
        raise _damaged()
    return length - 2


def _segment(marker: int, body: bytes) -> Iterator[bytes]:
    if marker == _APP0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        body = body[:12] + b"\0\0"  # without the thumbnail
    elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
        body = body[:12]  # says how the colours are meant
    elif marker not in _TABLES | _SOF | {_SOS}:
        return
    yield bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _check_frame(body: bytes) -> None:
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise _damaged()
    _check_size(int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"))


def _coded(reader: _Reader) -> bytes:
    """What a scan codes: everything up to the next marker that is not part of it."""
    content, begin = reader.content, reader.at
    at = begin
    while (at := content.find(b"\xff", at)) >= 0:
        following = content[at + 1] if at + 1 < len(content) else None
        if following is None:
            break
        if following == 0xFF:
            at += 1
        elif following == 0x00 or following in _STANDING_ALONE:
            at += 2
        else:
            reader.at = at
            return content[begin:at]
    reader.at = len(content)
    return content[begin:].rstrip(b"\xff")


# PNG: chunks, each with its length, name and checksum

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_LENGTHS: dict[bytes, range] = {
    b"IHDR": range(13, 14),
    b"PLTE": range(3, 769),
    b"IDAT": range(MAX_BYTES),
    b"IEND": range(1),
    b"tRNS": range(1, 257),
    b"gAMA": range(4, 5),
    b"cHRM": range(32, 33),
    b"sRGB": range(1, 2),
    b"pHYs": range(9, 10),
}


def _png(reader: _Reader) -> Iterator[bytes]:
    yield reader.take(8)
    begun, drawn, name = False, False, b""
    while name != b"IEND":
        length, name = reader.number(4), reader.take(4)
        body, checksum = reader.take(length), reader.number(4)
        if (name == b"IHDR") is begun:
            raise _damaged()
        begun = True
        if not _is_kept(name, body):
            continue
        if zlib.crc32(body, zlib.crc32(name)) != checksum:
            raise _damaged()
        if name == b"IHDR":
            _check_size(int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big"))
        drawn = drawn or name == b"IDAT"
        yield length.to_bytes(4, "big") + name + body + checksum.to_bytes(4, "big")
    if not drawn:
        raise BadPicture("the picture is incomplete")


def _is_kept(name: bytes, body: bytes) -> bool:
    lengths = _PNG_LENGTHS.get(name)
    if lengths is not None and len(body) in lengths:
        return True
    if not name.isalpha() or name[:1].isupper():  # it cannot be drawn without this one
        raise _damaged()
    return False


# GIF: blocks, in the order in which they are drawn


def _gif(reader: _Reader) -> Iterator[bytes]:
    head = reader.take(13)
    size = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    _check_size(*size)
    yield head + reader.take(_palette_length(head[10]))
    frames = 0
    while (block := reader.number(1)) != 0x3B:
        if block == 0x21:
            yield from _gif_extension(reader)
        elif block == 0x2C:
            frames += 1
            yield from _gif_frame(reader, size)
        else:
            raise _damaged()
    if not 0 < frames <= _MAX_FRAMES:
        raise BadPicture("the picture is incomplete" if not frames else "it has too many frames")
    yield b"\x3b"


def _palette_length(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_extension(reader: _Reader) -> Iterator[bytes]:
    label = reader.number(1)
    blocks = _sub_blocks(reader)
    if label == 0xF9 and len(blocks) == 6 and blocks[0] == 4:  # how long, and what is clear
        yield b"\x21\xf9" + blocks
    elif label == 0xFF and blocks.startswith(b"\x0bNETSCAPE2.0\x03\x01") and len(blocks) == 17:
        yield b"\x21\xff" + blocks  # how often


def _gif_frame(reader: _Reader, size: tuple[int, int]) -> Iterator[bytes]:
    head = reader.take(9)
    left, top, width, height = (int.from_bytes(head[i : i + 2], "little") for i in (0, 2, 4, 6))
    if left + width > size[0] or top + height > size[1]:
        raise _damaged()
    yield b"\x2c" + head + reader.take(_palette_length(head[8])) + reader.take(1)
    yield _sub_blocks(reader)


def _sub_blocks(reader: _Reader) -> bytes:
    begin = reader.at
    while length := reader.number(1):
        reader.take(length)
    return reader.content[begin : reader.at]


# WebP: a RIFF file of chunks


def _webp(reader: _Reader) -> Iterator[bytes]:
    reader.take(4)
    whole = reader.number(4, "little")
    reader = _Reader(reader.content[: whole + 8], 12)
    canvas: tuple[int, int] | None = None
    drawn: tuple[int, int] | None = None
    while reader.left:
        name, length = reader.take(4), reader.number(4, "little")
        body = reader.take(length)
        reader.take(min(length % 2, reader.left))
        if name == b"VP8X" and length == 10 and canvas is None and drawn is None:
            canvas = _webp_canvas(body)
            body = bytes((body[0] & _ALPHA,)) + b"\0\0\0" + body[4:]
        elif name in (b"VP8 ", b"VP8L") and drawn is None:
            drawn = _vp8_size(body) if name == b"VP8 " else _vp8l_size(body)
            _check_size(*drawn)
        elif name in (b"ANIM", b"ANMF"):
            raise BadPicture("moving WebP pictures are not taken", hint="Send a still one.")
        elif name != b"ALPH" or drawn is not None:
            continue
        yield name + length.to_bytes(4, "little") + body + b"\0" * (length % 2)
    if drawn is None:
        raise BadPicture("the picture is incomplete")
    if canvas not in (None, drawn):
        raise _damaged()


_ALPHA = 0x10


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WEBP" + chunks


def _webp_canvas(body: bytes) -> tuple[int, int]:
    size = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    _check_size(*size)
    return size


def _vp8_size(body: bytes) -> tuple[int, int]:
    if len(body) < 10 or body[0] & 1 or body[3:6] != b"\x9d\x01\x2a":
        raise _damaged()
    width, height = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
    return width & 0x3FFF, height & 0x3FFF


def _vp8l_size(body: bytes) -> tuple[int, int]:
    if len(body) < 5 or body[0] != 0x2F:
        raise _damaged()
    bits = int.from_bytes(body[1:5], "little")
    return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1


_PARTS_OF: dict[str, Callable[[_Reader], Iterator[bytes]]] = {
    JPEG: _jpeg,
    PNG: _png,
    GIF: _gif,
    WEBP: _webp,
}
