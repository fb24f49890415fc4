"""Pushes: what was set here of a customer that Stripe knows, on its way there.

Fields are name, email, description and `metadata`, the last with one entry per key that was set; None removes a field
or a key.
"""

from collections.abc import Iterator, Mapping, Sequence

TEXTS = ("name", "email", "description")
METADATA = "metadata"
METADATA_KEYS_MAX = 50
"""How many keys of metadata Stripe takes of a customer."""

Fields = Mapping[str, object]


def joined(stages: Sequence[Fields | None]) -> dict[str, object]:
    """The fields of all stages of a push: a later stage counts, field by field and key by key."""
    fields: dict[str, object] = {}
    metadata: dict[str, object] = {}
    for stage in stages:
        for name, value in (stage or {}).items():
            if name == METADATA and isinstance(value, Mapping):
                metadata |= value
            else:
                fields[name] = value
    return {**fields, METADATA: metadata} if metadata else fields


def text_with(fields: Fields, name: str, said: str | None) -> str | None:
    """A text of the record: what is on its way, else what is said otherwise."""
    if name not in fields:
        return said
    value = fields[name]
    return value if isinstance(value, str) else None


def metadata_with(fields: Fields, said: Mapping[str, str]) -> dict[str, str]:
    """The metadata of the record, with the keys that are on their way."""
    changed = fields.get(METADATA)
    if not isinstance(changed, Mapping):
        return dict(said)
    kept = {key: value for key, value in said.items() if key not in changed}
    return kept | {key: value for key, value in changed.items() if isinstance(value, str)}


def parameters_of(fields: Fields) -> dict[str, str]:
    """The fields as Stripe takes them: it removes what is set to the empty text."""
    parameters: dict[str, str] = {}
    for name, value in fields.items():
        if name == METADATA and isinstance(value, Mapping):
            parameters |= {f"{METADATA}[{key}]": str(text or "") for key, text in value.items()}
        elif name in TEXTS:
            parameters[name] = str(value or "")
    return parameters


def apart(fields: Fields, named: str | None) -> tuple[Fields, Fields]:
    """What Stripe refuses if it names this parameter (email; of metadata[plan] all metadata), and the rest. If it names
    none of the fields, it refuses them all.
    """
    field = (named or "").partition("[")[0]
    if field not in fields:
        return fields, {}
    return {field: fields[field]}, {name: value for name, value in fields.items() if name != field}


def names_of(fields: Fields) -> tuple[str, ...]:
    """What the fields are called: email, metadata.plan."""
    return tuple(sorted(_names(fields)))


def _names(fields: Fields) -> Iterator[str]:
    for name, value in fields.items():
        if name == METADATA and isinstance(value, Mapping):
            yield from (f"{METADATA}.{key}" for key in value)
        else:
            yield name
