"""Stripe objects for tests: `stripe_examples.json` as Stripe publishes them (trimmed), and one customer's story as
each API version would tell it (`subscription` and the rest, by Stripe's `object`)."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

NEWEST = "2026-10-28.endive"
OLD_VERSIONS = ("2024-06-20", "2022-11-15", "2020-08-27")

Body = dict[str, Any]


@cache
def _read(name: str) -> dict[str, Body]:
    bodies: dict[str, Body] = json.loads(Path(__file__).with_name(f"{name}.json").read_text())
    return bodies


def story(version: str = NEWEST) -> dict[str, Body]:
    """A fresh copy of the story's objects in one API version."""
    return deepcopy(_read(version))


def stripe_examples() -> dict[str, Body]:
    """A fresh copy of Stripe's own examples, newest shape."""
    return deepcopy(_read("stripe_examples"))
