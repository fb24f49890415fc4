"""One name on many customers, as constant names are ("website", "guest"): a story for worlds alone, for its length."""

from collections.abc import Iterator

from billing.claims import CLAIMANTS_MAX
from sandbox.stories import Stage, Story

SIZE = CLAIMANTS_MAX + 4


def _plot(stage: Stage) -> Iterator[int]:
    """Customers come one after another with one name; those who have it give it up, or are deleted with it."""
    name = {"custom_uid": f"website-{stage.number}"}
    clients = stage.account.clients
    crowd = []
    for _ in range(SIZE):
        crowd.append(stage.customer(payment_method=None, metadata=name))
        yield stage.choices.randint(1, 900)
    stage.expect(crowd[0], custom_uid=name["custom_uid"])
    clients.update(crowd[0], metadata={"custom_uid": f"first-{stage.number}"})
    yield 600
    stage.expect(crowd[1], custom_uid=name["custom_uid"])
    clients.update(crowd[1], metadata={})
    clients.delete(crowd[2])
    yield 600
    # Not a crowd any more: each of the others has a problem of its own again.
    for customer in crowd[-3:]:
        yield 600
        clients.update(customer, metadata={})


CROWD = Story(
    name="one_name_on_many",
    sentence="More customers claim one name than are counted.",
    covers=(),
    defines=(),
    customers=SIZE,
    plot=_plot,
)
EVENTS = SIZE + 6
