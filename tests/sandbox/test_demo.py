"""The demo of `make up`: one of each thing that records tell of, within the first minutes."""

from sandbox.demo import ACME, CONNECTED_ACCOUNT
from sandbox.live import Origin, open_account
from sandbox.objects import Coupon
from sandbox.periods import DAY

ORIGIN = Origin(seed=3, epoch=1_735_732_800, customers=5, demo=True)
DAYS_A_MINUTE = 15


def test_the_first_minutes_show_each_thing() -> None:
    """Features, usage, entities, a coupon, a second currency, a connected account; who was past due recovers; a
    dispute; and customers keep coming, beyond the number that live there at a time.
    """
    sandbox = open_account(ORIGIN, live_mode=False)
    late: list[str | None] = []
    types: set[str] = set()
    counts: list[int] = []
    truth = sandbox.truth()
    for _ in range(2 * DAYS_A_MINUTE):
        types |= {event.type for event in sandbox.advance(DAY)}
        sandbox.forget_events(keep=100)
        truth = sandbox.truth()
        counts.append(len(truth))
        (found,) = [each for each in truth.values() if each.name == "Late Lantern"]
        late.append(found.status)
    assert "past_due" in late[:DAYS_A_MINUTE]
    assert "active" in late[late.index("past_due") :]
    assert {"charge.dispute.created", "charge.dispute.closed"} <= types
    assert any(
        isinstance(each, Coupon) and each.times_redeemed for each in sandbox.home.shelves["coupon"].rows
    )
    assert counts[0] > ORIGIN.customers
    assert counts[DAYS_A_MINUTE] < counts[-1]
    assert {"", CONNECTED_ACCOUNT} == {key.account_id for key in truth}
    assert {"usd", "eur"} <= {row.currency for each in truth.values() for row in each.revenue}
    assert any(each.features for each in truth.values())
    (acme,) = [key for key, each in truth.items() if each.custom_uid == ACME]
    assert any(row.value for row in sandbox.usage()[acme])
