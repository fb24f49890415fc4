"""Links: a customer that was created here and one of Stripe's to which the company gave the same name are one customer.

So a customer that pays for the first time through a Checkout of the company's, or that the company created at Stripe on
its own, needs nobody who links it.
"""

from collections.abc import Iterator, Sequence

import structlog

from billing.claims import holder_of
from billing.facts import uid_of_unlinked
from db.connection import Connection
from db.records.identities import Namesakes, link_namesakes
from runtime.retry import retry_conflicts
from worker.live.history import Derivation

OF_THE_COMPANY = ("metadata", "checkout")
"""What a buyer's browser writes links nobody (I13)."""

log = structlog.get_logger()


async def link_by_name(connection: Connection, derivations: Sequence[Derivation]) -> None:
    """Link the identities without a Stripe customer whose names these customers share. All are of one account and mode.

    A transaction of its own, after that which has stored the records: it marks both customers of each pair.
    """
    pairs = sorted(set(_pairs(derivations)))
    if not pairs:
        return
    scope = derivations[0].stale.key.scope
    linked = await retry_conflicts(lambda: link_namesakes(connection, scope, pairs))
    if linked:
        log.info("customers linked by their names", customers=linked)


def _pairs(derivations: Sequence[Derivation]) -> Iterator[Namesakes]:
    for each in derivations:
        if each.derived.claim is None:
            continue
        claims = [each.derived.claim, *each.facts.rival_claims]
        here = {uid for claim in claims if (uid := uid_of_unlinked(claim.customer_id)) is not None}
        there = [
            claim
            for claim in claims
            if claim.source in OF_THE_COMPANY and uid_of_unlinked(claim.customer_id) is None
        ]
        if len(here) == 1 and there:
            yield Namesakes(uid=here.pop(), stripe_customer_id=holder_of(there).customer_id)
