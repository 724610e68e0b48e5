"""Short-lived links, for what a web page shows by its address alone: an `<img>` names nobody."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from datetime import timedelta

from doorlock.daemon.ports import Clock
from doorlock.errors import NotAuthenticated


class Links:
    """Made for one who reads (`subject`) and one thing, and good for nothing else.

    They die with the process: a page that still shows one asks for the list again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._generations: Counter[str] = Counter()

    def make(self, subject: str, what: str, life: timedelta) -> str:
        """A link for at least `life`. For a while it comes out the same, so that browsers find in
        their cache what they have loaded before."""
        step = life.total_seconds() / 4
        expires = int((self._clock.now().timestamp() // step + 1) * step + life.total_seconds())
        return f"{expires:x}.{subject}.{self._seal(subject, what, expires)}"

    def subject_of(self, link: str, what: str) -> str:
        """Whom the link to `what` was made for. Raises NotAuthenticated."""
        expires, _, rest = link.partition(".")
        subject, _, seal = rest.partition(".")
        try:
            moment = int(expires, 16)
        except ValueError:
            raise _dead() from None
        right = hmac.compare_digest(seal.encode(), self._seal(subject, what, moment).encode())
        if not right or moment <= self._clock.now().timestamp():
            raise _dead()
        return subject

    def generation(self, subject: str) -> int:
        """Changes when the subject's links are ended: for whoever keeps one open."""
        return self._generations[subject]

    def end(self, subject: str) -> None:
        """Every link that was made for `subject` until now is dead."""
        self._generations[subject] += 1

    async def ended(self, user_id: str, jti: str | None) -> None:
        """One of a user's tokens has ended: so do their links, for none says by which it came."""
        self.end(f"u{user_id}")

    def _seal(self, subject: str, what: str, expires: int) -> str:
        text = "\0".join((subject, what, str(expires), str(self._generations[subject])))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _dead() -> NotAuthenticated:
    return NotAuthenticated("the link is no longer valid", hint="Ask for a new one.")
