"""custom_uid: the name that the company gave its customer, taken from the first source that states a usable one.

A name belongs to one customer of an account and mode. All claims decide which one, so that every claimant's record
comes to the same answer, whenever it is derived.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from billing.facts import CustomerFacts, UidClaim
from billing.kinds.checkout import CheckoutSession
from billing.problems import Problem, custom_uid_invalid, custom_uid_taken
from billing.status import BEFORE_ALL_TIMES

_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    custom_uid: str
    source: str
    object_id: str
    field: str


def is_url_safe(custom_uid: str) -> bool:
    """Whether a custom_uid can be part of an address as it is; no other is accepted."""
    return _URL_SAFE.fullmatch(custom_uid) is not None


def custom_uid_of(facts: CustomerFacts) -> tuple[str | None, list[Problem]]:
    """The customer's custom_uid, and the problems that kept other names out.

    A customer that loses a name to another one has none: falling back on the next source would give it an older name
    whenever another customer claims the newer one.
    """
    problems: list[Problem] = []
    for candidate in _candidates(facts):
        if not is_url_safe(candidate.custom_uid):
            problems.append(custom_uid_invalid(candidate.object_id, candidate.field, candidate.custom_uid))
            continue
        holder = _holder(facts, candidate)
        if holder == facts.customer_id:
            return candidate.custom_uid, problems
        problems.append(
            custom_uid_taken(candidate.object_id, candidate.field, candidate.custom_uid, holder=holder)
        )
        return None, problems
    return None, problems


def _candidates(facts: CustomerFacts) -> Iterator[_Candidate]:
    """The name that each source states, in order: Stripe's metadata, the latest Checkout with a name, our own."""
    if facts.customer is not None and facts.customer.custom_uid is not None:
        yield _Candidate(
            custom_uid=facts.customer.custom_uid,
            source="metadata",
            object_id=facts.customer_id,
            field="metadata.custom_uid",
        )
    named = [
        session
        for session in facts.sessions
        if session.status == "complete" and session.client_reference_id is not None
    ]
    if named:
        session = max(named, key=_age)
        yield _Candidate(
            custom_uid=session.client_reference_id or "",
            source="checkout",
            object_id=session.id,
            field="client_reference_id",
        )
    if facts.identity is not None and facts.identity.custom_uid is not None:
        yield _Candidate(
            custom_uid=facts.identity.custom_uid,
            source="local",
            object_id=facts.identity.uid,
            field="custom_uid",
        )


def _age(session: CheckoutSession) -> tuple[object, str]:
    return session.created or BEFORE_ALL_TIMES, session.id


def _holder(facts: CustomerFacts, candidate: _Candidate) -> str:
    """The customer that the name belongs to: the one created first, then the one with the smallest id by bytes."""
    own = UidClaim(
        custom_uid=candidate.custom_uid,
        customer_id=facts.customer_id,
        source=candidate.source,
        customer_created=None if facts.customer is None else facts.customer.created,
    )
    rivals = [claim for claim in facts.rival_claims if claim.custom_uid == candidate.custom_uid]
    return min([own, *rivals], key=_seniority).customer_id


def _seniority(claim: UidClaim) -> tuple[bool, object, str]:
    return claim.customer_created is None, claim.customer_created or BEFORE_ALL_TIMES, claim.customer_id
