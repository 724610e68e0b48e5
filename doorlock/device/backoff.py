"""How long to wait before the next try."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: fully jittered exponential up to `cap`; after a refusal about `refused`.

    A session that lasted `steady` counts as good and starts the count again.
    """

    base: float = 0.5
    cap: float = 30.0
    refused: float = 60.0
    steady: float = 5.0

    def delay(self, attempt: int, dice: random.Random) -> float:
        """Before try number `attempt`, counted from 0."""
        return dice.uniform(0.0, min(self.cap, self.base * 2.0 ** min(attempt, 32)))

    def delay_after_refusal(self, dice: random.Random) -> float:
        return dice.uniform(0.75, 1.25) * self.refused
