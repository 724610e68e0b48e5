"""A picture for tests and demos: a plain grey baseline JPEG, made without a library."""

from __future__ import annotations

import struct


def grey_jpeg(width: int, height: int, level: int = 160) -> bytes:
    """A valid JPEG of one grey, `level` 0 (black) to 255 (white)."""
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    return b"".join(
        [
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"),
            _segment(0xDB, bytes([0, 8, *[1] * 63])),
            _segment(0xC0, frame),
            # DC: nine codes of four bits for the sizes 0-8; AC: one code of one bit, "end of block"
            _segment(0xC4, bytes([0x00, 0, 0, 0, 9, *[0] * 12, *range(9)])),
            _segment(0xC4, bytes([0x10, 1, *[0] * 15, 0])),
            _segment(0xDA, bytes([1, 1, 0x00, 0, 63, 0])),
            _scan(level - 128, blocks),
            b"\xff\xd9",
        ]
    )


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def _scan(difference: int, blocks: int) -> bytes:
    """Every block repeats the first one's level: a difference once, then zeros."""
    size = abs(difference).bit_length()
    value = difference if difference >= 0 else difference + (1 << size) - 1
    bits = f"{size:04b}" + (f"{value:0{size}b}" if size else "") + "0"
    bits += "00000" * (blocks - 1)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
