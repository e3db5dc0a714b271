"""Exports of the review as JSON Lines, CSV or Parquet, streamed.

In CSV and Parquet, lists and objects are JSON text, and the columns are those of the first record. Parquet needs
pyarrow, which the extra `parquet` installs. An export without a record gives the page again, which says why.
"""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from typing import Any

from fastapi import APIRouter, Request, Response

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.review import AnswerCount, AnswerFilter
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.downloads import BOM, Download, attachment, cell
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, page_of_form
from threadkeeper.web.pages.zone import Zone
from threadkeeper.web.review.notices import LONGEST_PURPOSE
from threadkeeper.web.review.policy import Policy
from threadkeeper.web.review.query import ReviewQuery, read_review_query

KINDS = ("conversations", "pairs", "fine_tuning")
ROWS_AT_ONCE = 100
INSTALL = {
    "command": "pip install 'threadkeeper[parquet]'",
    "checkout": ".venv/bin/pip install -e '.[parquet]'",
}
"""The commands that install pyarrow: for the package, and in a checkout."""
Records = AsyncIterator[dict[str, Any]]


router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/review/export")
async def choose_export(
    *, request: Request, person: Reviewer, layer: Layer, pages: Pages, policy: Policy, zone: Zone
) -> Response:
    query = read_review_query(request.query_params, zone, me=person.identifier)
    values = await _values(layer, policy, query) | {"chosen": {"kind": "pairs", "format": "jsonl", "purpose": ""}}
    return pages.page(request, "review/export.html", values, person=person, zone=zone)


@router.post("/review/export", dependencies=[page_of_form("/review/export", query="query")])
async def export(
    *, request: Request, person: Reviewer, form: Form, layer: Layer, pages: Pages, policy: Policy, zone: Zone
) -> Response:
    query = read_review_query(form.one("query", longest=8_000), zone, me=person.identifier)
    purpose = form.one("purpose", longest=LONGEST_PURPOSE).strip() or None
    if policy.asks_purpose and purpose is None:
        raise InvalidField("purpose", "bad_purpose")
    kind, format_ = form.one("kind", longest=40), form.one("format", longest=40)
    if kind not in KINDS:
        raise InvalidInput("bad_choice", value=kind)
    known = writers()
    if format_ == "parquet" and format_ not in known:
        raise InvalidInput("export_no_parquet", **INSTALL)
    if format_ not in known:
        raise InvalidInput("bad_format", value=format_)
    download = await export_of(layer, policy, query.which, kind, format_, purpose=purpose)
    if download is None:
        values = await _values(layer, policy, query)
        values |= {"chosen": {"kind": kind, "format": format_, "purpose": purpose or ""}}
        values |= {"empty": _why_empty(kind, values["counted"])}
        return pages.page(request, "review/export.html", values, person=person, zone=zone)
    return download


async def export_of(
    layer: ChainlitLayer, policy: ReviewPolicy, which: AnswerFilter, kind: str, format_: str, *, purpose: str | None
) -> Download | None:
    """The file of an export: one of `KINDS`, in a format of `writers`. None if it has no record."""
    sources: dict[str, Callable[..., Records]] = {
        "conversations": layer.export_conversations,
        "pairs": partial(layer.export_pairs, bad_labels=policy.bad_labels),
        "fine_tuning": partial(layer.export_fine_tuning, bad_labels=policy.bad_labels),
    }
    write, media_type, suffix = writers()[format_]
    records = sources[kind](which, pseudonym_key=policy.pseudonym_key, purpose=purpose)
    record = await anext(records, None)
    if record is None:
        return None
    body = write(again(record, records))
    # Read the first part before the response starts: an export that fails at once gets its own status.
    first = await anext(body, b"")
    name = f"{kind.replace('_', '-')}-{datetime.now(UTC).date()}.{suffix}"
    return Download(body, first, media_type=media_type, headers=attachment(name))


async def _values(layer: ChainlitLayer, policy: ReviewPolicy, query: ReviewQuery) -> dict[str, Any]:
    """The variables of the page, except for what is chosen in the form."""
    counted = await layer.count_answers(query.which)
    return {
        "query": query,
        "is_behind": layer.answer_follower.is_behind,
        "texts_left": counted.texts_left,
        "counted": counted,
        "kinds": KINDS,
        "formats_known": tuple(writers()),
        "install": INSTALL,
        "policy": policy,
        "longest_purpose": LONGEST_PURPOSE,
        "empty": None,
    }


def _why_empty(kind: str, counted: AnswerCount) -> str:
    """The key of the message that says why the export has no record."""
    if kind == "conversations" or counted.count == 0:
        return "export_empty_conversations"
    return f"export_empty_{kind}"


async def again(first: dict[str, Any], rest: Any) -> Records:
    """The records from the first one on, which was read already."""
    async with aclosing(rest):
        yield first
        async for record in rest:
            yield record


Writer = Callable[[Records], AsyncIterator[bytes]]


def writers() -> dict[str, tuple[Writer, str, str]]:
    """The writer, media type and suffix of each available format, by its name."""
    known: dict[str, tuple[Writer, str, str]] = {
        "jsonl": (as_json_lines, "application/jsonl; charset=utf-8", "jsonl"),
        "csv": (as_csv, "text/csv; charset=utf-8", "csv"),
    }
    if find_spec("pyarrow") is not None:
        known["parquet"] = (as_parquet, "application/vnd.apache.parquet", "parquet")
    return known


async def as_json_lines(records: Records) -> AsyncIterator[bytes]:
    """One JSON object a line."""
    source: Any = records
    async with aclosing(source):
        async for record in records:
            yield json.dumps(record, ensure_ascii=False, default=str).encode() + b"\n"


async def as_csv(records: Records) -> AsyncIterator[bytes]:
    """CSV with a header line, in UTF-8 with a byte order mark, for at least one record."""
    columns: list[str] = []
    source: Any = records
    async with aclosing(source):
        async for record in records:
            text = io.StringIO()
            writer = csv.writer(text)
            mark = b"" if columns else BOM
            if not columns:
                columns = list(record)
                writer.writerow(columns)
            writer.writerow([cell(record.get(name)) for name in columns])
            yield mark + text.getvalue().encode()


async def as_parquet(records: Records) -> AsyncIterator[bytes]:
    """Parquet with text columns and `ROWS_AT_ONCE` rows a group, for at least one record.

    Only one group is in memory at a time.
    """
    import pyarrow  # noqa: PLC0415  an extra, and slow to import
    from pyarrow import parquet  # noqa: PLC0415

    sink = _Sink()
    rows: list[dict[str, Any]] = []
    writer: Any = None
    source: Any = records

    def put() -> None:
        nonlocal writer
        names = list(rows[0]) if writer is None else writer.schema.names
        if writer is None:
            schema = pyarrow.schema([(name, pyarrow.string()) for name in names])
            writer = parquet.ParquetWriter(pyarrow.PythonFile(sink, mode="w"), schema, compression="zstd")
        columns = {name: [_text(row.get(name)) for row in rows] for name in names}
        writer.write_table(pyarrow.table(columns, schema=writer.schema))
        rows.clear()

    async with aclosing(source):
        async for record in records:
            rows.append(record)
            if len(rows) >= ROWS_AT_ONCE:
                put()
                yield sink.taken()
    if rows:
        put()
    writer.close()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """Buffers the bytes written since the last `taken()`. `tell()` counts all bytes, as the format needs."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = bytearray()
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        content = bytes(data)
        self._kept += content
        self._at += len(content)
        return len(content)

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        taken = bytes(self._kept)
        self._kept.clear()
        return taken


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
