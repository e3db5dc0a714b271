"""Fetches the data sources of a training: one page or file (`url`), or the pages of an HTTP API (`api`)."""

from __future__ import annotations

import asyncio
import codecs
import io
import json
import re
import ssl
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from aiohttp.abc import AbstractResolver
from aiohttp.helpers import parse_mimetype
from yarl import URL

from datalayer.cleaning import utc_now
from datalayer.records.knowledge import DataSource
from threadkeeper.knowledge.fetching.base import Fetched, FetchFailed, FetchSettings
from threadkeeper.knowledge.fetching.client import MIB, Answer, Client
from threadkeeper.knowledge.fetching.places import shown
from threadkeeper.knowledge.loaders.json_text import value_at

# An answer is read in the process of the server, to find the next one: longer ones would hold up the others.
_ANSWER_BYTES = 4 * MIB
_JSON = "application/json, */*;q=0.1"
_SUFFIXES = {
    "application/json": ".json",
    "application/x-ndjson": ".jsonl",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/markdown": ".md",
    "text/x-markdown": ".md",
}
_KNOWN_SUFFIXES = frozenset({*_SUFFIXES.values(), ".ndjson", ".geojson", ".markdown", ".txt"})
# Python knows other encodings, some of which are slow.
_ENCODING = re.compile(r"iso8859-\d+|cp\d+|gbk|gb2312|gb18030|big5\w*|euc_\w+|shift_jis\w*|koi8-\w")


class Fetcher:
    """Fetches within the rules of the settings; for one training.

    Args:
        resolver: of names; None: the one of this machine.
        tls: for hosts with https; None: the certificate authorities of this machine.
    """

    def __init__(
        self,
        settings: FetchSettings,
        *,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._client = Client(settings, resolver=resolver, tls=tls)

    async def close(self) -> None:
        await self._client.close()

    async def fetch(self, source: DataSource) -> Fetched:
        """The content of a data source.

        Raises:
            FetchFailed: there is none, or not in time.
        """
        address = self._client.places.parse(str(source.options.get("address") or ""))
        try:
            async with asyncio.timeout(self._settings.seconds):
                if source.kind == "api":
                    return await self._fetch_api(source, address)
                return await self._fetch_page(source, address)
        except TimeoutError:
            raise FetchFailed("timeout", host=address.host) from None

    async def _fetch_page(self, source: DataSource, address: URL) -> Fetched:
        known = source.fetched if source.object_key is not None else None
        answer = await self._client.get(
            address,
            self._settings.megabytes * MIB,
            private_headers=self._header(source, address),
            unchanged=_unchanged(known, address),
        )
        if answer.content is None:
            return Fetched(None, {**(known or {}), "at": utc_now()})
        media_type = parse_mimetype(answer.headers.get("Content-Type", ""))
        kind = f"{media_type.type}/{media_type.subtype}" + (f"+{media_type.suffix}" if media_type.suffix else "")
        is_direct = answer.address == address
        facts = {
            "at": utc_now(),
            "asked": str(address),
            # A redirect can lead to an address that is signed for a while.
            "address": str(address) if is_direct else shown(answer.address),
            "suffix": _suffix(answer.address, kind),
            "etag": answer.headers.get("ETag") if is_direct else None,
            "modified": answer.headers.get("Last-Modified") if is_direct else None,
        }
        charset = media_type.parameters.get("charset")
        return Fetched(await asyncio.to_thread(_in_utf_8, answer.content, kind, charset), facts)

    async def _fetch_api(self, source: DataSource, address: URL) -> Fetched:
        """All answers of an API as one JSON object: {"pages": […], "cut": whether there are more}."""
        header = self._header(source, address)
        # One copy: joined answers would be a second one.
        whole, count = io.BytesIO(), 0
        whole.write(b'{"pages": [')
        left = self._settings.megabytes * MIB
        following: URL | None = address
        seen: set[URL] = set()
        while following is not None and count < self._settings.pages:
            if following in seen:
                raise FetchFailed("paging", address=shown(following))
            seen.add(following)
            own_header = header if following.origin() == address.origin() else {}
            try:
                answer = await self._client.get(
                    following, min(left, _ANSWER_BYTES), accept=_JSON, private_headers=own_header
                )
            except FetchFailed as failed:
                if count and source.options.get("page") and failed.values.get("status") == 404:
                    following = None  # The page after the last one.
                    break
                raise
            content = answer.content or b""
            left -= len(content)
            value = await asyncio.to_thread(_parsed, content, following)
            whole.write(b",\n" if count else b"")
            whole.write(content.removeprefix(codecs.BOM_UTF8))
            count += 1
            following = self._next(source.options, value, answer, count)
        whole.write(b'], "cut": ' + (b"true" if following else b"false") + b"}")
        facts = {"at": utc_now(), "asked": str(address), "address": str(address), "pages": count}
        return Fetched(whole.getvalue(), facts)

    def _next(self, options: Mapping[str, Any], value: Any, answer: Answer, read: int) -> URL | None:
        """The address of the next answer; None behind the last one. Raises FetchFailed."""
        records = value_at(value, str(options.get("records") or ""))
        if not isinstance(records, list):
            raise FetchFailed("not_list", path=str(options.get("records") or ""), host=answer.address.host)
        if path := options.get("next"):
            found = value_at(value, str(path))
            if not isinstance(found, str) or not found:
                return None
            try:
                return self._client.places.parse(str(answer.address.join(URL(found))))
            except ValueError:
                raise FetchFailed("address", address=shown(found)) from None
        if name := options.get("page"):
            if not records:
                return None
            first = self._client.places.parse(str(options["address"])).query.get(str(name), "1")
            number = int(first) if first.isascii() and first.isdecimal() and len(first) < 10 else 1
            return self._client.places.parse(str(options["address"])).update_query({str(name): str(number + read)})
        return answer.next_address and self._client.places.parse(str(answer.next_address))

    def _header(self, source: DataSource, address: URL) -> dict[str, str]:
        """The header of a data source, which its host gets. Raises FetchFailed if it is not for this host."""
        name = source.options.get("header")
        if not name:
            return {}
        header = self._settings.headers.get(str(name).upper())
        places = {f"{address.raw_host}:{address.port}"}
        if (address.scheme, address.port) == ("https", 443):
            places.add(str(address.raw_host))
        if header is None or header.host not in places:
            raise FetchFailed("header", name=str(name)[:100], host=address.host)
        return {header.name: header.value}


def _unchanged(known: Mapping[str, Any] | None, address: URL) -> dict[str, str]:
    """Headers that ask whether a content changed, if it came from this address without a redirect."""
    if known is None or known.get("address") != str(address) or known.get("asked") != str(address):
        return {}
    headers = {"If-None-Match": known.get("etag"), "If-Modified-Since": known.get("modified")}
    return {name: value for name, value in headers.items() if isinstance(value, str) and value}


def _parsed(content: bytes, address: URL) -> Any:
    """Raises FetchFailed if it is not JSON in UTF-8."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise FetchFailed("not_json", address=shown(address)) from None


def _suffix(address: URL, kind: str) -> str:
    """What decides between formats of text, as the suffix of a file does: that of the address, or the media type."""
    suffix = PurePosixPath(address.path).suffix.lower()
    if suffix in _KNOWN_SUFFIXES:
        return suffix
    return ".json" if kind.endswith("+json") else _SUFFIXES.get(kind, "")


def _in_utf_8(content: bytes, kind: str, charset: str | None) -> bytes:
    """A text whose encoding only the server names, in UTF-8 with a mark that every loader knows."""
    if charset is None or not (kind.startswith("text/") or kind.endswith(("xml", "json"))):
        return content
    try:
        if not _ENCODING.fullmatch(codecs.lookup(charset).name):
            return content
        return codecs.BOM_UTF8 + content.decode(charset).encode()
    except (LookupError, UnicodeError):
        return content
