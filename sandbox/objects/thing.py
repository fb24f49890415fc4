"""What all objects of the simulated account have in common, free of any API version.

Other objects are named by id, so that a copy of one object is a true copy of its state; `shapes` turns objects into
what a given API version shows. Times are whole seconds since 1970, amounts minor units.
"""

from dataclasses import dataclass
from typing import ClassVar

Metadata = dict[str, str]


@dataclass(slots=True, kw_only=True)
class Thing:
    """Anything that has an id, a time of birth and a place in a list."""

    kind: ClassVar[str] = ""

    id: str
    created: int
    customer: str | None = None
    # The order of birth within the account: `created` has whole seconds only, and lists need a total order.
    serial: int = 0
