"""Amounts in minor units: what can be stored of them, and how people write them."""

BIGINT_MAX = 2**63 - 1


def storable(amount: int) -> int | None:
    """The amount, or None if a bigint cannot hold it: then it is not known, and nothing else is lost with it."""
    return amount if abs(amount) <= BIGINT_MAX else None


# How many decimals Stripe's minor units have, if it is not two (docs.stripe.com/currencies).
_DECIMALS = dict.fromkeys(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"],
    0,
) | dict.fromkeys(["bhd", "jod", "kwd", "omr", "tnd"], 3)


def decimals_of(currency: str) -> int:
    """How many decimals of the currency a minor unit is."""
    return _DECIMALS.get(currency.lower(), 2)


def format_amount(minor: int | None, currency: str) -> str:
    """The amount without the currency's sign: 123456 usd is 1,234.56. None is one that could not be stored."""
    if minor is None:
        return "too large"
    decimals = decimals_of(currency)
    sign = "-" if minor < 0 else ""
    whole, fraction = divmod(abs(minor), 10**decimals)
    return f"{sign}{whole:,}.{fraction:0{decimals}}" if decimals else f"{sign}{whole:,}"
