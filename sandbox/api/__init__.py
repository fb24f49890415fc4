"""Stripe's REST API over the sandbox's objects: retrieve, list, paginate, expand, refuse as Stripe does."""

from sandbox.api.app import Api, Tally, create_api
from sandbox.api.limits import Gate, RateLimits
from sandbox.api.listing import COLLECTIONS
from sandbox.api.server import serve
from sandbox.refusals import RefusedError

__all__ = ["COLLECTIONS", "Api", "Gate", "RateLimits", "RefusedError", "Tally", "create_api", "serve"]
