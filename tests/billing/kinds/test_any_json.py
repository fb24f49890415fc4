"""Any JSON at all is read, or refused by name."""

import dataclasses
import types
import typing
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

from hypothesis import given
from hypothesis import strategies as st

from billing.kinds.fields import UnknownShape
from billing.kinds.parse import Parsed, nested_lists, parse_object
from billing.kinds.registry import KINDS
from tests.billing.kinds.bodies import Body
from tests.billing.kinds.shapes import NEWEST, OLD_VERSIONS, story, stripe_examples

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**300, 10**12])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "object", "data", "has_more", "type"]), inner, max_size=3)
    ),
    max_leaves=6,
)

BODIES = [body for version in (NEWEST, *OLD_VERSIONS) for body in story(version).values()] + list(
    stripe_examples().values()
)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in entries:
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


@st.composite
def mutated_bodies(draw: st.DrawFn) -> Body:
    """A real object in which one to four places were overwritten or removed."""
    body = deepcopy(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 4))):
        every = list(places(body))
        if not every:
            break
        container, key = every[draw(st.integers(0, len(every) - 1))]
        if draw(st.booleans()):
            container[key] = draw(JSON)
        else:
            del container[key]
    return body


def conforms(value: object, wanted: Any) -> bool:
    """Whether a fact has exactly the type that its column needs."""
    if isinstance(wanted, types.UnionType):
        return any(conforms(value, choice) for choice in get_args(wanted))
    if wanted is int:
        return type(value) is int and -(2**63) <= value < 2**63
    if wanted is datetime:
        return isinstance(value, datetime) and value.tzinfo is UTC
    if typing.get_origin(wanted) is dict:
        return isinstance(value, dict) and all(isinstance(text, str) for text in [*value, *value.values()])
    if typing.get_origin(wanted) is tuple:
        return isinstance(value, tuple) and all(conforms(each, get_args(wanted)[0]) for each in value)
    if dataclasses.is_dataclass(wanted) and type(value) is wanted:
        return all(conforms(getattr(value, name), type_) for name, type_ in get_type_hints(wanted).items())
    return type(value) is wanted


def assert_storable(parsed: Parsed) -> None:
    for row in (*([] if parsed.facts is None else [parsed.facts]), *parsed.parts):
        for name, wanted in get_type_hints(type(row)).items():
            assert conforms(getattr(row, name), wanted), (name, getattr(row, name))
    assert len(parsed.parts) == len({part.id for part in parsed.parts})
    for ref in parsed.references:
        assert ref.kind in KINDS
        assert 0 < len(ref.id) <= 255


@given(body=mutated_bodies())
def test_any_shape_is_read_or_refused(body: Body) -> None:
    """Whatever Stripe's JSON turns into, it is refused by name or gives facts that fit their columns."""
    nested_lists(body)
    with suppress(UnknownShape):
        assert_storable(parse_object(body))


@given(body=JSON)
def test_any_json_is_read_or_refused(body: Any) -> None:
    if isinstance(body, dict):
        nested_lists(body)
    with suppress(UnknownShape):
        assert_storable(parse_object(body))
