"""Dataclasses as columns: what statements over many rows need to pass one array per field.

Only names from our own source become SQL; every value is a parameter.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

_SQL_TYPES = {
    str: "text",
    int: "bigint",
    bool: "boolean",
    datetime: "timestamptz",
    UUID: "uuid",
    dict: "jsonb",
    tuple: "text[]",
    Decimal: "numeric",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One field as a column: its name and its SQL type."""

    name: str
    type: str

    @property
    def encoded(self) -> bool:
        """Maps and lists travel as JSON text: an array of arrays would come apart in unnest."""
        return self.type in ("jsonb", "text[]")

    @property
    def array(self) -> str:
        """The type of the parameter that carries this column of many rows."""
        return "text[]" if self.encoded else f"{self.type}[]"

    @property
    def value(self) -> str:
        """The column in a statement that unnests its parameters `as new`."""
        match self.type:
            case "jsonb":
                return f"new.{self.name}::jsonb"
            case "text[]":
                elements = f"array(select jsonb_array_elements_text(new.{self.name}::jsonb))"
                return f"case when new.{self.name} is not null then {elements} end"
            case _:
                return f"new.{self.name}"


def columns_of(row: type) -> tuple[Column, ...]:
    """The columns of a dataclass, in the order of its fields."""
    hints = typing.get_type_hints(row)
    return tuple(Column(name=field.name, type=_sql_type(hints[field.name])) for field in fields(row))


def _sql_type(hint: object) -> str:
    if isinstance(hint, types.UnionType):
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not types.NoneType)
    plain = typing.cast("type", typing.get_origin(hint) or hint)
    if plain is tuple and is_dataclass(typing.get_args(hint)[0]):
        return "jsonb"
    return "text" if issubclass(plain, StrEnum) else _SQL_TYPES[plain]


def arrays_of(columns: tuple[Column, ...], rows: Sequence[object]) -> list[list[object]]:
    """One array per column: the parameters of a statement over these rows."""
    return [
        [_encoded(getattr(row, column.name)) for row in rows]
        if column.encoded
        else [getattr(row, column.name) for row in rows]
        for column in columns
    ]


def _encoded(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def names_of(columns: Sequence[Column], *, prefix: str = "") -> str:
    """The names, separated by commas, each with the prefix."""
    return ", ".join(f"{prefix}{column.name}" for column in columns)


def parameters_of(columns: Sequence[Column], *, first: int) -> str:
    """The typed parameters, numbered from `first`, that carry the arrays of these columns."""
    return ", ".join(f"${number}::{column.array}" for number, column in enumerate(columns, start=first))


def values_of(columns: Sequence[Column]) -> str:
    """The values, separated by commas, in a statement that unnests its parameters `as new`."""
    return ", ".join(column.value for column in columns)


def decoded(columns: Sequence[Column], row: asyncpg.Record) -> dict[str, Any]:
    """The columns of a stored row, those that are kept as JSON decoded."""
    return {
        column.name: msgspec.json.decode(row[column.name])
        if column.type == "jsonb" and row[column.name] is not None
        else row[column.name]
        for column in columns
    }


def differing(wanted: object, stored: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a frozen value whose stored columns differ from it."""
    return tuple(
        field.name
        for field in fields(wanted)  # type: ignore[arg-type]
        if _plain(getattr(wanted, field.name)) != _plain(stored[field.name])
    )


def _plain(value: object) -> object:
    # Lists of values with fields (the tiers of a price) come from the database as the JSON that they were stored as.
    return msgspec.json.decode(msgspec.json.encode(value)) if isinstance(value, (list, tuple)) else value
