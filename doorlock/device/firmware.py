"""Fetching firmware and comparing its checksum; the reference device installs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

LIMIT = 16 * 1024 * 1024
_CHUNK = 64 * 1024


async def check_firmware(url: str, checksum: str, *, seconds: float = 120.0) -> str | None:
    """None when what lies at `url` has this SHA-256; otherwise why not, in words for the daemon."""
    digest, size = hashlib.sha256(), 0
    try:
        async for chunk in _read(url, seconds):
            size += len(chunk)
            if size > LIMIT:
                return "the firmware is larger than 16 MiB"
            digest.update(chunk)
    except Exception as error:
        return f"the firmware could not be downloaded: {type(error).__name__}"
    return None if digest.hexdigest() == checksum else "the firmware's checksum does not fit"


async def _read(url: str, seconds: float) -> AsyncIterator[bytes]:
    parts = urlsplit(url)
    if parts.scheme == "file":
        with Path(unquote(parts.path)).open("rb") as file:  # noqa: ASYNC230
            while chunk := file.read(_CHUNK):
                yield chunk
        return
    import aiohttp

    limit = aiohttp.ClientTimeout(total=seconds)
    async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as answer:
        answer.raise_for_status()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            yield chunk
