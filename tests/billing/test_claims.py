"""custom_uid: which source names the customer, which names are refused, and which claimant gets a disputed name."""

import itertools
from dataclasses import replace
from datetime import datetime

import pytest

from billing.claims import crowd_of, is_url_safe
from billing.facts import CustomerFacts, UidClaim
from billing.kinds.checkout import CheckoutSession
from billing.record import Problem
from tests.billing.examples import CLAIM, CUSTOMER, FACTS, IDENTITY, OUR_UID, SESSION, day, derive

BAD = ["asdfj45 345345345 %%%", "%%%%", "!!#123. 45", "", "a/b", "é", "ada\n", "x" * 256]


def named(
    metadata: str | None = None,
    *,
    checkout: str | None = None,
    page: str | None = None,
    local: str | None = None,
) -> CustomerFacts:
    """A customer with these names, one from each of the four sources."""
    made: tuple[CheckoutSession, ...] = (
        () if checkout is None else (replace(SESSION, client_reference_id=checkout),)
    )
    if page is not None:
        # Later than the company's own, and all the same behind it.
        made += (
            replace(SESSION, id="cs_2", created=day(1), client_reference_id=page, payment_link_id="plink_1"),
        )
    return replace(
        FACTS,
        customer=replace(CUSTOMER, custom_uid=metadata),
        sessions=made,
        identity=None if local is None else replace(IDENTITY, custom_uid=local),
    )


@pytest.mark.parametrize("custom_uid", ["a", "user_42", "A-Z.a~z_0-9", "x" * 255])
def test_url_safe(custom_uid: str) -> None:
    """Letters, digits and . _ ~ - need no escaping in an address."""
    assert is_url_safe(custom_uid)
    assert custom_uid == derive(named(custom_uid)).record.custom_uid


@pytest.mark.parametrize("custom_uid", BAD)
def test_not_url_safe(custom_uid: str) -> None:
    """Others are kept out and reported, with the place where they were found."""
    derived = derive(named(custom_uid))
    assert derived.record.custom_uid is None
    (problem,) = derived.problems
    assert ("custom_uid_invalid", "cus_1") == (problem.kind, problem.object_id)
    assert problem.detail.startswith("metadata.custom_uid of cus_1 is ")


@pytest.mark.parametrize(
    ("facts", "expected", "invalid"),
    [
        pytest.param(named("b", checkout="c", page="d", local="a"), "a", [], id="ours first"),
        pytest.param(named("b", checkout="c", page="d"), "b", [], id="then metadata"),
        pytest.param(named(checkout="c", page="d"), "c", [], id="then the company's Checkout"),
        pytest.param(named(page="d"), "d", [], id="then a payment link's"),
        pytest.param(named(), None, [], id="nobody"),
        pytest.param(
            named("%", checkout="c", local="%"), "c", [OUR_UID, "cus_1"], id="unusable ones are passed over"
        ),
        pytest.param(named("%", checkout="%", page="d"), "d", ["cs_1", "cus_1"], id="also the company's"),
        pytest.param(
            named("%", checkout="%", page="%", local="%"),
            None,
            [OUR_UID, "cs_1", "cs_2", "cus_1"],
            id="and all four",
        ),
        pytest.param(named("a", checkout="%", page="%"), "a", [], id="what is not needed is not reported"),
    ],
)
def test_sources_in_order(facts: CustomerFacts, expected: str | None, invalid: list[str]) -> None:
    """The name comes from the first source with a usable one."""
    derived = derive(facts)
    assert expected == derived.record.custom_uid
    assert [("custom_uid_invalid", each) for each in invalid] == [
        (problem.kind, problem.object_id) for problem in derived.problems
    ]


def test_the_latest_completed_checkout_that_names() -> None:
    """Open and expired sessions name no customer; of two completed at the same time the greater id decides."""
    first = replace(SESSION, id="cs_1", created=day(1), client_reference_id="first")
    second = replace(first, id="cs_2", created=day(2), client_reference_id="second")
    third = replace(second, id="cs_3", client_reference_id="third")
    left = replace(first, id="cs_4", created=day(3), client_reference_id="left", status="expired")
    silent = replace(first, id="cs_5", created=day(4), client_reference_id=None)
    undated = replace(first, id="cs_6", created=None, client_reference_id="undated")
    for sessions in itertools.permutations((first, second, third, left, silent, undated)):
        assert "third" == derive(replace(FACTS, sessions=sessions)).record.custom_uid


def rival(customer_id: str, created: datetime | None, custom_uid: str = "ada") -> UidClaim:
    return replace(CLAIM, custom_uid=custom_uid, customer_id=customer_id, customer_created=created)


@pytest.mark.parametrize(
    ("rivals", "holder"),
    [
        pytest.param([], "cus_1", id="nobody else"),
        pytest.param([rival("cus_0", day(1))], "cus_1", id="a later customer"),
        pytest.param([rival("cus_2", day(-1))], "cus_2", id="an earlier customer"),
        pytest.param([rival("cus_2", day(-1)), rival("cus_3", day(-2))], "cus_3", id="the earliest"),
        pytest.param([rival("cus_0", day(0))], "cus_0", id="together: the smaller id"),
        pytest.param([rival("cus_2", day(0))], "cus_1", id="together: the greater id"),
        pytest.param([rival("cus_A", day(0)), rival("CUS_1", day(0))], "CUS_1", id="smaller by bytes"),
        pytest.param([rival("cus_0", None)], "cus_1", id="created unknown comes last"),
        pytest.param([rival("cus_2", day(-1), "bob")], "cus_1", id="another name"),
    ],
)
def test_one_holder_of_a_name(rivals: list[UidClaim], holder: str) -> None:
    """The customer created first has it, then the smallest id; the others have none, and a problem names the holder."""
    own = rival("cus_1", day(0))
    for claims in itertools.permutations([own, *rivals]):
        derived = derive(replace(named("ada"), rival_claims=claims))
        if holder == "cus_1":
            assert ("ada", ()) == (derived.record.custom_uid, derived.problems)
        else:
            assert derived.record.custom_uid is None
            (problem,) = derived.problems
            assert ("custom_uid_taken", "cus_1") == (problem.kind, problem.object_id)
            assert f"belongs to {holder}," in problem.detail


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        pytest.param(
            named(page="ada"), "checkout", "which has it from a Checkout that the company made", id="a page"
        ),
        pytest.param(named(page="ada"), "metadata", "which has it in its metadata", id="a page, too"),
        pytest.param(named(checkout="ada"), "metadata", "which has it in its metadata", id="a Checkout"),
        pytest.param(named("ada"), "local", "which was given it here", id="metadata"),
    ],
)
def test_i13_rank_before_age(own: CustomerFacts, other: str, reason: str) -> None:
    """I13: what the company wrote outranks what a buyer's browser wrote, however much earlier the buyer came."""
    better = replace(rival("cus_2", day(900)), source=other)
    derived = derive(replace(own, rival_claims=(better,)))
    assert derived.record.custom_uid is None
    (problem,) = derived.problems
    assert f"belongs to cus_2, {reason}." in problem.detail
    worse = replace(rival("cus_2", day(-900)), source="page")
    if own.customer is not None and not own.sessions:
        assert "ada" == derive(replace(own, rival_claims=(worse,))).record.custom_uid


def test_its_own_stored_claim_does_not_count() -> None:
    """A claim stored before its facts changed is the customer's own, and decides nothing."""
    before = replace(CLAIM, source="local", customer_created=day(-9))
    facts = replace(named(page="ada"), rival_claims=(before, rival("cus_2", day(-1))))
    assert derive(facts).record.custom_uid is None


def test_a_crowded_name_is_no_problem_of_each_customer() -> None:
    """More than a hundred claimants are one problem of the name (`crowd_of`), which says what it is."""
    derived = derive(replace(named("ada"), rival_claims=(rival("cus_0", day(-1)),), crowded=True))
    assert (None, ()) == (derived.record.custom_uid, derived.problems)
    assert (
        "More than 100 customers claim the custom_uid ada, so it names none of them. cus_0 has it, by its "
        "metadata.custom_uid. Something writes one name for everybody: sync.uid_claims lists who, and from what."
    ) == crowd_of(rival("cus_0", day(-1))).detail


def test_all_claimants_agree() -> None:
    """Each claimant, derived by itself, comes to the same answer: exactly one of them has the name."""
    created = {"cus_1": day(2), "cus_2": day(1), "cus_3": None, "cus_4": day(1)}
    claims = tuple(rival(customer_id, at) for customer_id, at in created.items())
    holders = [
        customer_id
        for customer_id, at in created.items()
        if derive(
            replace(
                FACTS,
                customer_id=customer_id,
                customer=replace(CUSTOMER, id=customer_id, created=at, custom_uid="ada"),
                rival_claims=claims,
            )
        ).record.custom_uid
    ]
    assert ["cus_2"] == holders


def test_a_loser_falls_back_on_nothing() -> None:
    """A name from another source would be one that nobody asked for; the problem names the losing source."""
    facts = replace(named("%", checkout="ada", page="c"), rival_claims=(replace(CLAIM, customer_id="cus_0"),))
    derived = derive(facts)
    assert derived.record.custom_uid is None
    assert [("custom_uid_invalid", "cus_1"), ("custom_uid_taken", "cs_1")] == [
        (problem.kind, problem.object_id) for problem in derived.problems
    ]


def test_a_customer_not_seen_yet_comes_last() -> None:
    """A Checkout may name a customer whose own row has not come: every customer with a date precedes it."""
    facts = replace(named(checkout="ada"), customer=None, rival_claims=(rival("cus_2", day(900)),))
    assert derive(facts).record.custom_uid is None
    assert "ada" == derive(replace(facts, rival_claims=())).record.custom_uid


def test_problems_read_as_sentences() -> None:
    """The problem, the place, the remedy; a long name is cut."""
    (invalid,) = derive(named("%" * 300)).problems
    assert (
        Problem(
            kind="custom_uid_invalid",
            object_id="cus_1",
            detail=f"metadata.custom_uid of cus_1 is '{'%' * 60}'... (300 characters), which is not URL-safe, and is "
            "not used as custom_uid. Set one of 1 to 255 characters out of letters, digits and . _ ~ - there.",
        )
        == invalid
    )
    (taken,) = derive(replace(named("ada"), rival_claims=(rival("cus_0", day(-1)),))).problems
    assert (
        "metadata.custom_uid of cus_1 claims the custom_uid ada, which belongs to cus_0, the customer created first. "
        "Give one of the two customers another, or merge them."
    ) == taken.detail
