"""The rate budget: how fast one lane of this process may call Stripe, adapted to Stripe's answers."""

import asyncio
import time

BURST_SECONDS = 0.25
RATE_MIN = 1.0
RECOVERY_SECONDS = 30.0


class Budget:
    """A token bucket whose rate halves when Stripe answers 429, and grows back over half a minute of success.

    `rate_max` is this lane's share, in requests a second; other software of the account needs the rest.
    """

    def __init__(self, *, rate_max: float, concurrency_max: int) -> None:
        self.rate_max = rate_max
        self.rate = rate_max
        self._places = asyncio.Semaphore(concurrency_max)
        self._next_at = 0.0
        self._halved_at = 0.0

    async def __aenter__(self) -> None:
        await self._places.acquire()
        try:
            await self._take_turn()
        except BaseException:
            self._places.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._places.release()

    def succeeded(self) -> None:
        """Record a success: the rate grows back a little."""
        if self.rate < self.rate_max:
            self.rate = min(
                self.rate_max, self.rate + self.rate_max / (RECOVERY_SECONDS * max(self.rate, 1.0))
            )

    def limited(self, reason: str) -> None:
        """Record a 429 and its Stripe-Rate-Limited-Reason. A lock on one object says nothing about the rate."""
        now = time.monotonic()
        if reason in ("lock_timeout", "resource-specific") or now - self._halved_at < 1.0:
            return  # further refusals of one burst say nothing new
        self._halved_at = now
        self.rate = max(self.rate / 2, RATE_MIN)
        self._next_at = max(self._next_at, now + 0.5)

    async def _take_turn(self) -> None:
        now = time.monotonic()
        # Up to a quarter of a second's requests may have been saved up.
        turn = max(self._next_at, now - BURST_SECONDS)
        self._next_at = turn + 1.0 / self.rate
        if turn > now:
            await asyncio.sleep(turn - now)
