"""Device tokens: 32 random bytes as 64 hex digits, kept only as a SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import secrets

_NOBODYS = hashlib.sha256(b"").hexdigest()


def new_token() -> str:
    return secrets.token_hex(32)


def hashed(token: str) -> str:
    # a fast hash is enough for 256 random bits: there is nothing to guess
    return hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, token_hash: str | None) -> bool:
    """Whether `token` is the one of `token_hash`, in the same time whatever the answer."""
    same = hmac.compare_digest(hashed(token), token_hash or _NOBODYS)
    return same and token_hash is not None
