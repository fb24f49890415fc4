"""Amounts in minor units, written as people write them."""

# How many decimals Stripe's minor units have, if it is not two (docs.stripe.com/currencies).
_DECIMALS = dict.fromkeys(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"],
    0,
) | dict.fromkeys(["bhd", "jod", "kwd", "omr", "tnd"], 3)


def format_amount(minor: int, currency: str) -> str:
    """The amount without the currency's sign: 123456 usd is 1,234.56."""
    decimals = _DECIMALS.get(currency.lower(), 2)
    sign = "-" if minor < 0 else ""
    whole, fraction = divmod(abs(minor), 10**decimals)
    return f"{sign}{whole:,}.{fraction:0{decimals}}" if decimals else f"{sign}{whole:,}"
