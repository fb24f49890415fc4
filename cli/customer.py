"""`subledger customer ID`: one customer's record, its sources, and why it is exact or not."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer
from msgspec import UnsetType
from rich.console import RenderableType
from rich.text import Text

from billing.currencies import format_amount
from billing.products import CustomerProduct
from cli.connect import database, environment
from cli.errors import CommandError
from cli.events import STATE_STYLES
from cli.terminal import cell, pairs, show, show_json, table
from db.connection import Connection
from db.records.customer import (
    StoredCustomer,
    find_customers,
)
from db.records.full import Customer, rows_of
from db.records.view import CustomerView, read_view
from db.sync.inbox_admin import EventState, select_marks_by_id, select_objects_by_id
from runtime.printable import shown

HITS_SHOWN_MAX = 20
EVENTS_SHOWN_MAX = 10
REASONS_SHOWN_MAX = 12

STATUS_STYLES = {
    "active": "green",
    "trialing": "cyan",
    "canceled": "yellow",
    "past_due": "red",
    "ended": "dim",
}


def customer(
    name: Annotated[str, typer.Argument(metavar="ID", help="custom_uid, Stripe customer id, uid or email.")],
    account: Annotated[
        str | None, typer.Option(help="Only of this connected account; '' is the endpoint's own.")
    ] = None,
    live: Annotated[bool | None, typer.Option("--live/--test", help="Only of this mode.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """One customer's record and timeline, and why it is exact or not."""
    view = asyncio.run(_read(environment(), name.strip(), account_id=account, live_mode=live))
    if as_json:
        show_json(view.document())
    else:
        show(*_page(view))


async def _read(
    environ: Mapping[str, str], name: str, *, account_id: str | None, live_mode: bool | None
) -> CustomerView:
    async with (
        database(environ) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        found = await find_customers(
            connection, name, account_id=account_id, live_mode=live_mode, limit=HITS_SHOWN_MAX + 1
        )
        if not found:
            raise CommandError(await _unknown(connection, name))
        if len(found) > 1:
            raise CommandError(_several(name, found))
        return await read_view(connection, found[0], events_max=EVENTS_SHOWN_MAX)


async def _unknown(connection: Connection, name: str) -> str:
    """The message for a name of no customer: what it is instead, if it is known."""
    for mark in await select_marks_by_id(connection, [name]):
        if mark.parked_at is not None:
            return f"{shown(name)} has no record: deriving it was given up: {shown(mark.error or '')}"
        return f"{shown(name)} has no record here yet: `subledger status` shows whether the workers are working on it"
    for entry in await select_objects_by_id(connection, [name]):
        if entry.customer_id is not None:
            return f"{shown(name)} is a {entry.kind}: see `subledger customer {shown(entry.customer_id)}`"
        return f"{shown(name)} is a {entry.kind}, not a customer"
    return (
        f"no customer {shown(name)}: give a custom_uid, a Stripe customer id (cus_...), a uid or an email, "
        "and check whether --account, --live or --test excludes it"
    )


def _several(name: str, found: list[StoredCustomer]) -> str:
    more = f"\n  and more than {HITS_SHOWN_MAX - 1} others" if len(found) > HITS_SHOWN_MAX else ""
    lines = "".join(
        f"\n  {each.uid}  {_mode(each)}  {each.stripe_customer_id or '-'}  {shown(each.custom_uid or '-')}  "
        f"{shown(each.email or '-')}  {shown(each.name or '-')}{'  deleted' if each.deleted_at else ''}"
        for each in found[:HITS_SHOWN_MAX]
    )
    return f"{shown(name)} matches several customers: choose by uid, or by --account, --live or --test{lines}{more}"


def _mode(record: StoredCustomer) -> str:
    return " ".join(part for part in ("live" if record.live_mode else "test", record.account_id) if part)


def _page(view: CustomerView) -> Iterator[RenderableType]:
    yield from _identity(view)
    yield from _exactness(view)
    yield from _push(view.record)
    yield Text()
    yield from _subscription(view.record)
    yield Text()
    yield from _money(view)
    if rows_of(view.record.customer_products):
        yield Text()
        yield table(
            "Products",
            ["product", "subscription", "status", "at Stripe", "access", "quantity", "current period"],
            [
                (
                    each.product_id,
                    each.stripe_subscription_id,
                    _status(each.status),
                    each.stripe_status,
                    each.has_access,
                    each.quantity,
                    _period(each),
                )
                for each in rows_of(view.record.customer_products)
            ],
        )
    if rows_of(view.record.features):
        yield Text()
        yield table(
            "Features",
            ["feature", "lookup key", "name"],
            [(each.feature_id, each.lookup_key, each.name) for each in rows_of(view.record.features)],
        )
    if rows_of(view.record.status_changes):
        yield Text()
        yield table(
            "Status history",
            ["at", "from", "to", "exact", "by"],
            [
                (
                    each.changed_at,
                    _status(each.status_before),
                    _status(each.status_after),
                    each.exact,
                    f"{each.source} {each.event_id or ''}".strip(),
                )
                for each in rows_of(view.record.status_changes)
            ],
        )
    if view.last_events:
        yield Text()
        yield table(
            "Last events (the newest of each object)",
            ["event", "received", "type", "state", "of"],
            [
                (
                    each.event_id,
                    each.received_at,
                    each.type,
                    cell(each.state, STATE_STYLES[EventState(each.state)]),
                    ", ".join(each.objects),
                )
                for each in view.last_events
            ],
        )
    if view.problems:
        yield Text()
        yield table("Problems", ["kind", "detail"], [(each.kind, each.detail) for each in view.problems])


def _identity(view: CustomerView) -> Iterator[RenderableType]:
    record = view.record
    yield pairs(
        f"Customer {record.custom_uid or record.stripe_customer_id or record.uid}",
        [
            ("name", record.name),
            ("email", record.email),
            ("description", record.description),
            ("custom_uid", record.custom_uid),
            ("Stripe id", record.stripe_customer_id),
            *([("also at Stripe", ", ".join(view.stripe_ids[1:]))] if view.stripe_ids[1:] else []),
            ("uid", record.uid),
            ("mode", _mode(record)),
            ("metadata", ", ".join(f"{key}={value}" for key, value in record.metadata.items()) or None),
            ("fingerprint", record.fingerprint),
            ("email receipts", record.send_email_receipts),
            ("first seen", record.first_seen),
            ("last seen", record.last_seen),
            *([("deleted", cell(record.deleted_at, "red"))] if record.deleted_at else []),
        ],
    )


def _exactness(view: CustomerView) -> Iterator[RenderableType]:
    reasons = view.reasons()
    yield Text()
    if view.record.exact:
        yield Text("Exact: complete, and confirmed by Stripe.", style="green")
    else:
        yield Text("Not exact:" if reasons else "Not exact.", style="yellow")
    for reason in reasons[:REASONS_SHOWN_MAX]:
        yield Text(f"  {shown(reason)}", overflow="fold")
    if len(reasons) > REASONS_SHOWN_MAX:
        yield Text(f"  and {len(reasons) - REASONS_SHOWN_MAX:,} more: see --json", style="dim")


def _push(record: Customer) -> Iterator[RenderableType]:
    if isinstance(record.push, UnsetType):
        return
    for said, names in (
        ("Set here, and not at Stripe yet", record.push.fields),
        ("Set here, and refused by Stripe", record.push.refused),
    ):
        if names:
            yield Text(f"{said}: {shown(', '.join(names))}.", style="yellow", overflow="fold")
    if record.push.error:
        yield Text(f"  {shown(record.push.error)}", overflow="fold")


def _subscription(record: StoredCustomer) -> Iterator[RenderableType]:
    version = f" version {record.product_version_number}" if record.product_version_number else ""
    yield pairs(
        "Subscription",
        [
            ("status", _status(record.status)),
            ("access", record.has_access),
            ("product", f"{record.product_id}{version}" if record.product_id else None),
            ("quantity", record.quantity),
            ("renewals", record.renewal_number),
            ("since", record.subscription_date),
            ("trial", record.is_trial),
            ("trial end", record.trial_end),
            ("grant end", record.sandbox_end),
            ("subscription", record.stripe_subscription_id),
            ("Stripe product", record.stripe_product_id),
            ("Stripe price", record.stripe_price_id),
        ],
    )


def _money(view: CustomerView) -> Iterator[RenderableType]:
    record = view.record
    lifetime = (
        "none"
        if record.revenue_currency is None
        else _amount(record.lifetime_revenue, record.revenue_currency)
    )
    monthly = [
        "not known yet" if each.mrr is None else _amount(each.mrr, each.currency)
        for each in rows_of(view.record.mrr)
    ]
    yield pairs("Money", [("lifetime revenue", lifetime), ("monthly (MRR)", ", ".join(monthly) or "none")])
    if rows_of(view.record.revenue):
        yield table(
            "Revenue",
            ["currency", "gross", "refunded", "disputed", "out of band", "net"],
            [
                (
                    each.currency.upper(),
                    *(
                        Text(format_amount(minor, each.currency), justify="right")
                        for minor in (each.gross, each.refunded, each.disputed, each.out_of_band, each.net)
                    ),
                )
                for each in rows_of(view.record.revenue)
            ],
        )


def _amount(minor: int | None, currency: str) -> str:
    return f"{format_amount(minor, currency)} {currency.upper()}"


def _status(status: str | None) -> Text:
    return cell(status or "none", STATUS_STYLES.get(status or "", "dim"))


def _period(product: CustomerProduct) -> str | None:
    if product.current_period_start is None or product.current_period_end is None:
        return None
    return f"{product.current_period_start:%Y-%m-%d} to {product.current_period_end:%Y-%m-%d}"
