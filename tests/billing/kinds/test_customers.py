"""Customers and their tax ids."""

from billing.kinds.parse import NestedList, nested_lists, parse_object
from tests.billing.kinds.bodies import body_of, facts_of
from tests.billing.kinds.shapes import story


def test_custom_uid_is_taken_as_it_stands() -> None:
    """The rules decide whether it is valid, so that they can report it."""
    assert "%%%%" == facts_of("customer", metadata={"custom_uid": "%%%%"}).custom_uid
    assert None is facts_of("customer", metadata={}).custom_uid


def test_tax_ids_come_with_their_customer() -> None:
    """A customer that was read with its tax ids embeds them whole."""
    tax_id = story()["tax_id"]
    customer = body_of("customer", tax_ids={"object": "list", "data": [tax_id], "has_more": False})
    assert (tax_id,) == parse_object(customer).embedded
    customer["tax_ids"]["has_more"] = True
    assert (
        NestedList(path=("tax_ids",), url="/v1/customers/cus_ada/tax_ids", last_id="txi_1"),
    ) == nested_lists(customer)
