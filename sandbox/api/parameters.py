"""The parameters of a request, parsed and refused as Stripe does."""

from sandbox.periods import MINUTE
from sandbox.refusals import RefusedError, missing_parameter

Parameters = list[tuple[str, str]]

_PAGING = "limit starting_after ending_before expand"
_LIST_LIMIT, _LIST_LIMIT_MAX = 10, 100


def check_parameters(parameters: Parameters, taken: str) -> None:
    """Refuse a parameter that this list, or this object, does not take, as Stripe does."""
    known = f"{_PAGING} {taken}".split()
    for name, _ in parameters:
        if name.split("[")[0] not in known:
            raise RefusedError(
                400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )


def expands_of(parameters: Parameters, *, within: str = "") -> list[str]:
    paths = [value for name, value in parameters if name == "expand" or name.startswith("expand[")]
    for path in paths:
        if not path.startswith(within):
            raise RefusedError(400, f"This property cannot be expanded ({path}).", param="expand")
    return paths


def limit_of(wanted: dict[str, str]) -> int:
    limit = integer(wanted, "limit")
    if limit is None:
        return _LIST_LIMIT
    if not 1 <= limit <= _LIST_LIMIT_MAX:
        raise RefusedError(
            400,
            f"This value must be between 1 and {_LIST_LIMIT_MAX}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    return limit


def window(wanted: dict[str, str], name: str) -> tuple[int | None, int | None]:
    """The closed interval of a moment, such as `created`, that the request asks for; None: open on that side."""
    exactly = integer(wanted, name)
    if exactly is not None:
        return exactly, exactly
    after, low = integer(wanted, f"{name}[gt]"), integer(wanted, f"{name}[gte]")
    before, high = integer(wanted, f"{name}[lt]"), integer(wanted, f"{name}[lte]")
    lows = [bound for bound in (low, None if after is None else after + 1) if bound is not None]
    highs = [bound for bound in (high, None if before is None else before - 1) if bound is not None]
    return max(lows, default=None), min(highs, default=None)


def whole_minute(wanted: dict[str, str], name: str) -> int:
    moment = integer(wanted, name)
    if moment is None:
        raise missing_parameter(name)
    if moment % MINUTE:
        raise RefusedError(400, f"{name} must be aligned with minute boundaries.", param=name)
    return moment


def integer(wanted: dict[str, str], name: str) -> int | None:
    text = wanted.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise RefusedError(
            400, f"Invalid integer: {text}", code="parameter_invalid_integer", param=name
        ) from None
