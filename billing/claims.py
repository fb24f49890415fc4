"""custom_uid: the name that the company gave its customer, taken from the first source that states a usable one.

A name belongs to one customer of an account and mode. What the company wrote outranks what a buyer's browser wrote;
then the customer created first has it. So every claimant's record comes to the same answer, whenever it is derived.
"""

import re
from collections.abc import Iterator

from billing.facts import CustomerFacts, UidClaim
from billing.kinds.checkout import CheckoutSession
from billing.problems import Problem, custom_uid_crowded, custom_uid_invalid, custom_uid_taken
from billing.status import BEFORE_ALL_TIMES

_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]{1,255}")

RANKS = ("local", "metadata", "checkout", "page")
"""The sources of a name, the first that states one counts: set here; the customer's metadata; a Checkout that the
company made; a Checkout of a payment link, for which the buyer's browser writes the reference."""

_FIELDS = {
    "local": "custom_uid",
    "metadata": "metadata.custom_uid",
    "checkout": "client_reference_id",
    "page": "client_reference_id",
}
_OUTRANKS = {
    "local": "which was given it here",
    "metadata": "which has it in its metadata",
    "checkout": "which has it from a Checkout that the company made",
}

CLAIMANTS_MAX = 100
"""A name that more customers claim is one problem for all of them."""


def is_url_safe(custom_uid: str) -> bool:
    """Whether a custom_uid can be part of an address as it is; no other is accepted."""
    return _URL_SAFE.fullmatch(custom_uid) is not None


def claim_of(facts: CustomerFacts) -> tuple[UidClaim | None, list[Problem]]:
    """The name that the customer claims, by the first source with a usable one, and the problems of those before it.

    A customer claims one name. When it loses that to another customer it has none: falling back on the next source
    would give it an older name whenever another customer claims the newer one.
    """
    problems: list[Problem] = []
    for source, object_id, custom_uid in _candidates(facts):
        if is_url_safe(custom_uid):
            claim = UidClaim(
                custom_uid=custom_uid,
                customer_id=facts.customer_id,
                source=source,
                object_id=object_id,
                # Of equal claims the earliest customer's counts; a deleted customer's counts last.
                customer_created=None
                if facts.customer is None or facts.deleted_at is not None
                else facts.customer.created,
            )
            return claim, problems
        problems.append(custom_uid_invalid(object_id, _FIELDS[source], custom_uid))
    return None, problems


def _candidates(facts: CustomerFacts) -> Iterator[tuple[str, str, str]]:
    """The name that each source states, in the order of their ranks: source, object, name."""
    if facts.identity is not None and facts.identity.custom_uid is not None:
        yield "local", facts.identity.uid, facts.identity.custom_uid
    if facts.customer is not None and facts.customer.custom_uid is not None:
        yield "metadata", facts.customer_id, facts.customer.custom_uid
    named = [
        session
        for session in facts.sessions
        if session.status == "complete" and session.client_reference_id is not None
    ]
    for source in ("checkout", "page"):
        own = [session for session in named if _source_of(session) == source]
        if own:
            session = max(own, key=_age)
            yield source, session.id, session.client_reference_id or ""


def _source_of(session: CheckoutSession) -> str:
    """Who wrote the session's reference: the company, or the page through which the buyer came."""
    return "checkout" if session.payment_link_id is None else "page"


def _age(session: CheckoutSession) -> tuple[object, str]:
    return session.created or BEFORE_ALL_TIMES, session.id


def custom_uid_of(facts: CustomerFacts, claim: UidClaim | None) -> tuple[str | None, list[Problem]]:
    """The customer's custom_uid, and the problem that kept another name out."""
    if claim is None:
        return None, []
    rivals = [
        rival
        for rival in facts.rival_claims
        # Its own stored claim may be older than its facts.
        if rival.custom_uid == claim.custom_uid and rival.customer_id != facts.customer_id
    ]
    return decide(claim, holder=holder_of([claim, *rivals]), crowded=facts.crowded)


def holder_of(claims: list[UidClaim]) -> UidClaim:
    """Of these claims of one name the one that has it: by rank, then by the customer's age, then the smallest id. One
    of a deleted customer is the last of its rank.
    """
    return min(claims, key=_seniority)


def _seniority(claim: UidClaim) -> tuple[int, bool, object, str]:
    return (
        RANKS.index(claim.source),
        claim.customer_created is None,
        claim.customer_created or BEFORE_ALL_TIMES,
        claim.customer_id,
    )


def decide(claim: UidClaim, *, holder: UidClaim, crowded: bool) -> tuple[str | None, list[Problem]]:
    """The name that this claim gives its customer, where `holder` is the claim that has the name; and the problem where
    it gives none. A crowded name is one problem of its own (`crowd_of`), and none of each customer.
    """
    if holder.customer_id == claim.customer_id:
        return claim.custom_uid, []
    if crowded:
        return None, []
    first = "the customer created first" if holder.source == claim.source else _OUTRANKS[holder.source]
    taken = custom_uid_taken(
        claim.object_id, _FIELDS[claim.source], claim.custom_uid, holder=holder.customer_id, reason=first
    )
    return None, [taken]


def crowd_of(holder: UidClaim) -> Problem:
    """The problem of a name that more than CLAIMANTS_MAX customers claim; `holder` is the claim that has it."""
    return custom_uid_crowded(
        holder.custom_uid, holder=holder.customer_id, field=_FIELDS[holder.source], claimants=CLAIMANTS_MAX
    )
