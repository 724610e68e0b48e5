"""What is taken for a picture, and what is left of it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorlock.daemon.domain import pictures
from doorlock.daemon.domain.pictures import (
    GIF,
    JPEG,
    PNG,
    WEBP,
    BadPicture,
    from_text,
    media_type,
    stripped,
)
from doorlock.errors import TooLarge
from tests.support.pictures import (
    JPEG_1PX,
    chunk,
    data_url,
    gif,
    gif_extension,
    jpeg,
    png,
    riff_chunk,
    segment,
    sized_jpeg,
    webp,
)

SECRET = b"48.8584 N 2.2945 E"
EXIF = b"Exif\0\0MM\0*" + SECRET
XMP = b"http://ns.adobe.com/xap/1.0/\0" + SECRET
ALL = {JPEG: jpeg(), PNG: png(), GIF: gif(), WEBP: webp(flags=0)}

HIDDEN = {
    "jpeg exif": jpeg([segment(0xE1, EXIF)]),
    "jpeg xmp": jpeg([segment(0xE1, XMP)]),
    "jpeg colour profile": jpeg([segment(0xE2, b"ICC_PROFILE\0" + SECRET)]),
    "jpeg comment": jpeg([segment(0xFE, SECRET)]),
    "jpeg thumbnail": jpeg([segment(0xE0, b"JFXX\0\x10" + SECRET)]),
    "jpeg thumbnail in JFIF": jpeg([segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\6\1" + SECRET)]),
    "jpeg Adobe with more": jpeg([segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + SECRET)]),
    "jpeg unknown segment": jpeg([segment(0xF3, SECRET)]),
    "jpeg behind the end": jpeg(behind=SECRET + JPEG_1PX + EXIF),
    "png text": png([chunk(b"tEXt", b"where\0" + SECRET)]),
    "png international text": png([chunk(b"iTXt", b"where\0\0\0\0\0" + SECRET)]),
    "png exif": png([chunk(b"eXIf", b"MM\0*" + SECRET)]),
    "png colour profile": png([chunk(b"iCCP", b"icc\0\0" + SECRET)]),
    "png time": png([chunk(b"tIME", SECRET[:7]), chunk(b"zTXt", SECRET)]),
    "png odd gamma": png([chunk(b"prVt", SECRET), chunk(b"sPLT", SECRET)]),
    "png behind the end": png(behind=SECRET),
    "gif comment": gif([gif_extension(0xFE, SECRET)]),
    "gif plain text": gif([gif_extension(0x01, b"\0" * 12, SECRET)]),
    "gif xmp": gif([gif_extension(0xFF, b"XMP DataXMP", SECRET)]),
    "gif long loop": gif([gif_extension(0xFF, b"NETSCAPE2.0", b"\1\0\0", SECRET)]),
    "gif behind the end": gif(behind=SECRET),
    "webp exif": webp([riff_chunk(b"EXIF", EXIF)]),
    "webp xmp": webp([riff_chunk(b"XMP ", XMP)]),
    "webp colour profile": webp([riff_chunk(b"ICCP", SECRET)]),
    "webp unknown chunk": webp([riff_chunk(b"abcd", SECRET)]),
    "webp behind the end": webp(flags=0) + SECRET,
}


@pytest.mark.parametrize("kind", ALL)
def test_each_kind_is_known_by_its_content_and_kept_whole(kind: str) -> None:
    assert media_type(ALL[kind]) == kind
    assert stripped(ALL[kind]) == ALL[kind]


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_not_picture_is_left_out(name: str) -> None:
    content = HIDDEN[name]
    left = stripped(content)
    assert SECRET[:7] in content and SECRET[:7] not in left
    assert not any(word in left for word in (b"Exif", b"EXIF", b"XMP", b"tEXt", b"adobe.com"))
    assert media_type(left) == media_type(content)
    assert stripped(left) == left


@pytest.mark.parametrize("name", [name for name in HIDDEN if name.startswith("webp")])
def test_a_webp_says_nothing_of_what_was_taken_out(name: str) -> None:
    left = stripped(HIDDEN[name])
    assert left == ALL[WEBP]
    assert struct.unpack("<I", left[4:8])[0] == len(left) - 8


def test_what_draws_the_picture_stays() -> None:
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
    assert adobe in stripped(jpeg([adobe, segment(0xFE, SECRET)]))
    gamma = chunk(b"gAMA", b"\0\0\xb1\x8f")
    assert gamma in stripped(png([chunk(b"tEXt", SECRET), gamma]))
    loop = gif_extension(0xFF, b"NETSCAPE2.0", b"\1\0\0")
    timing = gif_extension(0xF9, b"\0\1\0\0")
    assert stripped(gif([loop, timing])) == gif([loop, timing])


def test_a_jpeg_without_its_end_gets_one() -> None:
    assert stripped(JPEG_1PX[:-2]) == JPEG_1PX


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BM" + b"\0" * 60,
        b"%PDF-1.7",
        JPEG_1PX[:20],
        b"\xff\xd8\xff\xd9",
        jpeg([segment(0xC0, b"\x08\0\x01\0\x01\x01\x01\x11\0")]),
        png()[:-12],
        png().replace(b"IDAT", b"IDAZ"),
        png()[:40] + b"\xff" + png()[41:],
        gif()[:-1],
        gif(width=1)[:13] + b"\x3b",
        webp()[:30],
        webp([riff_chunk(b"ANMF", b"\0" * 20)]),
        webp(flags=0).replace(b"VP8L", b"VP8 "),
    ],
    ids=range(15),
)
def test_what_is_no_whole_picture_is_refused(content: bytes) -> None:
    with pytest.raises(BadPicture) as caught:
        stripped(content)
    assert caught.value.message


@pytest.mark.parametrize(
    "content",
    [
        sized_jpeg(65535, 65535),
        sized_jpeg(16385, 1),
        sized_jpeg(0, 1),
        png(width=2**31 - 1, height=2**31 - 1),
        png(width=10_000, height=10_000),
        gif(width=65535, height=65535),
        webp(width=16384, height=16384),
    ],
    ids=range(7),
)
def test_a_picture_that_would_burst_whoever_draws_it_is_refused(content: bytes) -> None:
    with pytest.raises(BadPicture):
        stripped(content)


def test_five_mebibytes_are_the_most() -> None:
    comment = segment(0xFE, b"x" * 65533)
    with pytest.raises(TooLarge):
        stripped(jpeg([comment] * 81))
    assert stripped(jpeg([comment] * 79)) == JPEG_1PX


kinds = st.sampled_from(sorted(ALL))


@given(st.binary(max_size=300), kinds)
@settings(max_examples=300)
def test_whatever_comes_is_taken_or_refused_in_order(noise: bytes, kind: str) -> None:
    for content in (noise, ALL[kind][:12] + noise, ALL[kind] + noise):
        _taken_or_refused(content)


@given(kinds, st.data())
@settings(max_examples=400)
def test_a_damaged_picture_is_taken_or_refused_in_order(kind: str, data: st.DataObject) -> None:
    content = bytearray(ALL[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut]), bytes(content[:cut] + content)):
        _taken_or_refused(damaged)


def _taken_or_refused(content: bytes) -> None:
    try:
        left = stripped(content)
    except (BadPicture, TooLarge):
        return
    assert media_type(left) == media_type(content)
    assert stripped(left) == left


markers = st.sampled_from([*range(0xE0, 0xF0), 0xFE, *range(0xF0, 0xFE)])
bodies = st.binary(max_size=200).map(lambda noise: SECRET + noise)
names = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=1).flatmap(
    lambda first: st.text("ABCXYZabcxyz", min_size=3, max_size=3).map(
        lambda rest: (first + rest).encode()
    )
)


@given(st.lists(st.tuples(markers, bodies), min_size=1, max_size=5), bodies)
def test_no_segment_beside_the_picture_survives(
    segments: list[tuple[int, bytes]], behind: bytes
) -> None:
    content = jpeg([segment(*one) for one in segments], behind=behind)
    assert stripped(content) == JPEG_1PX


@given(st.lists(st.tuples(names, bodies), min_size=1, max_size=5), bodies)
def test_no_chunk_beside_the_picture_survives(
    chunks: list[tuple[bytes, bytes]], behind: bytes
) -> None:
    assert stripped(png([chunk(*one) for one in chunks], behind=behind)) == png()
    riff = [riff_chunk(name, body) for name, body in chunks]
    assert stripped(webp(riff)) == ALL[WEBP]


@given(st.lists(st.lists(bodies.map(lambda b: b[:255]), max_size=3), max_size=4), bodies)
def test_no_extension_beside_the_picture_survives(
    extensions: list[list[bytes]], behind: bytes
) -> None:
    made = [gif_extension(0xFE, *blocks) for blocks in extensions]
    assert stripped(gif(made, behind=behind)) == gif()


def test_text_is_read_with_and_without_its_data_url() -> None:
    url = data_url(JPEG_1PX)
    assert from_text(url) == from_text(url.partition(",")[2]) == JPEG_1PX
    assert from_text(url[:80] + "\r\n " + url[80:]) == JPEG_1PX


@pytest.mark.parametrize("text", ["data:image/jpeg,abc", "data:", "a", "ab!=", "ümlaut", "====="])
def test_text_that_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(BadPicture):
        from_text(text)


def test_text_of_too_large_a_picture_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        from_text("A" * (pictures.MAX_BYTES * 2))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_order(text: str) -> None:
    for given_text in (text, "data:image/png;base64," + text):
        try:
            from_text(given_text)
        except (BadPicture, TooLarge):
            continue
