"""Transactions: the calls to models as a list with filters, and one with its messages."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from threadkeeper.web.api.access import UsageReader
from threadkeeper.web.api.calls_query import Calls, demand_own_filters
from threadkeeper.web.api.paging import Cursor, Limit
from threadkeeper.web.api.problems import not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute
from threadkeeper.web.api.usage_shapes import (
    TransactionPage,
    WholeTransaction,
    transaction_of,
    whole_transaction_of,
)
from threadkeeper.web.auth.roles import reading_usage, sees_all_usage
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.review.policy import Policy

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)


@router.get("/transactions")
async def list_transactions(
    *,
    caller: UsageReader,
    layer: Layer,
    query: Calls,
    sort: Annotated[
        Literal["request_time", "cost", "tokens", "seconds"], Query(description="Unknown values are the smallest.")
    ] = "request_time",
    direction: Literal["descending", "ascending"] = "descending",
    cursor: Cursor = None,
    limit: Limit = 20,
) -> TransactionPage:
    """The calls to models that match the filters: one's own, for admins all; the newest first."""
    demand_own_filters(query, sees_all=sees_all_usage(caller.person))
    order = "requested_at" if sort == "request_time" else sort
    with reading_usage(caller.person):
        found = await layer.list_calls(
            query.which, order=order, descending=direction == "descending", cursor=cursor, limit=limit
        )
    return TransactionPage(data=[transaction_of(row) for row in found.rows], next_cursor=found.next_cursor)


@router.get("/transactions/{transaction_id}")
async def read_transaction(caller: UsageReader, layer: Layer, policy: Policy, transaction_id: str) -> WholeTransaction:
    """A call with its messages and its answer. Reading those of another user adds a row to the audit."""
    with reading_usage(caller.person):
        found = await layer.get_call(transaction_id)
    if found is None:
        raise not_found("transaction")
    row, payload = found
    is_own = row.call.user_id == caller.user_id
    # As on the page: it does not ask for a purpose, which the audit needs.
    is_withheld = payload is not None and not is_own and policy.asks_purpose
    if is_withheld:
        payload = None
    elif payload is not None and not is_own:
        await layer.note_call_read(row.call.id)
    return whole_transaction_of(row, payload, is_withheld=is_withheld)
