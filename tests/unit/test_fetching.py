"""Fetching: only from hosts of the settings, only from their addresses, within bounds, and told why not."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp import web

from datalayer import DataSource
from tests.support.certificate import self_signed
from tests.support.records import new_id
from tests.support.web_site import Names, Page, Site, packed
from threadkeeper.knowledge.fetching import client as client_module
from threadkeeper.knowledge.fetching.addresses import may_connect
from threadkeeper.knowledge.fetching.base import Fetched, FetchFailed, FetchFailure, FetchSettings
from threadkeeper.knowledge.fetching.fetcher import Fetcher
from threadkeeper.knowledge.fetching.hosts import FetchHeader, url_hosts
from threadkeeper.knowledge.wording import say_fetch

HTML = "<!doctype html><html><body><p>The harbour opens at six in the morning.</p></body></html>"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as made:
        yield made


def settings_for(site: Site, *hosts: str, **fields: Any) -> FetchSettings:
    """The site itself is listed with its private network."""
    return FetchSettings(url_hosts([f"http://127.0.0.1:{site.port}=127.0.0.0/8", *hosts]), **fields)


def source(address: str, kind: str = "url", **options: Any) -> DataSource:
    return DataSource(new_id(), "librarian", kind, "Page", {"address": address, **options})


async def fetch(settings: FetchSettings, asked: DataSource, **named: Any) -> Fetched:
    fetcher = Fetcher(settings, **named)
    try:
        return await fetcher.fetch(asked)
    finally:
        await fetcher.close()


async def failure(settings: FetchSettings, asked: DataSource, **named: Any) -> FetchFailed:
    with pytest.raises(FetchFailed) as failed:
        await fetch(settings, asked, **named)
    return failed.value


async def test_a_page_is_fetched_with_our_name_and_nothing_else(site: Site) -> None:
    site.pages["/a.html"] = Page(HTML, headers={"Content-Type": "text/html", "Set-Cookie": "a=b", "ETag": '"1"'})
    settings = settings_for(site)
    fetcher = Fetcher(settings)
    try:
        for _ in range(2):
            found = await fetcher.fetch(source(site.address("/a.html")))
            assert found.content == HTML.encode()
    finally:
        await fetcher.close()
    assert found.facts["etag"] == '"1"'
    assert site.paths(robots=True) == ["/robots.txt", "/a.html", "/a.html"], "robots.txt is read once"
    for visit in site.visits:
        assert visit.headers["User-Agent"] == "Threadkeeper"
        assert set(visit.headers) == {"Host", "Accept", "User-Agent", "Accept-Encoding"}


@pytest.mark.parametrize(
    ("hosts", "address", "kind"),
    [
        ([], "https://docs.example.com/", "no_hosts"),
        (["docs.example.com"], "https://other.example.com/", "host"),
        (["docs.example.com"], "https://docs.example.com.evil.example/", "host"),
        (["docs.example.com"], "http://docs.example.com/", "host"),
        (["docs.example.com"], "https://docs.example.com:8443/", "host"),
        (["http://docs.example.com"], "https://docs.example.com/", "host"),
        (["docs.example.com"], "https://me:secret@docs.example.com/", "address"),
        (["docs.example.com"], "https://me@docs.example.com/", "address"),
        (["docs.example.com"], "file:///etc/passwd", "address"),
        (["docs.example.com"], "ftp://docs.example.com/", "address"),
        (["docs.example.com"], "docs.example.com", "address"),
        (["docs.example.com"], "https://[::1", "address"),
        (["docs.example.com"], "https://docs.example.com/" + "a" * 2_000, "address"),
        (["docs.example.com"], "", "address"),
    ],
)
async def test_an_address_that_is_not_allowed_is_refused_before_a_name_is_looked_up(
    hosts: list[str], address: str, kind: str
) -> None:
    names = Names()
    failed = await failure(FetchSettings(url_hosts(hosts)), source(address), resolver=names)
    assert (failed.kind, names.asked) == (kind, [])
    assert "secret" not in str(failed)


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        *((one, True) for one in ("93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822")),
        *((one, False) for one in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254")),
        *((one, False) for one in ("100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1")),
        *((one, False) for one in ("198.18.0.1", "192.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fec0::1")),
        *((one, False) for one in ("fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "100::1", "::7f00:1")),
        *((one, False) for one in ("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254")),
        *((one, False) for one in ("2002:7f00:1::", "2002:a00:1::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe")),
        *((one, False) for one in ("2001:0:4136:e378:8000:63bf:3fff:fdd2",)),
    ],
)
def test_only_public_addresses_may_be_connected_to(address: str, is_public: bool) -> None:
    assert may_connect(address, ()) is is_public


def test_a_listed_network_allows_its_addresses_and_no_others() -> None:
    (host,) = url_hosts(["http://wiki.example=10.1.0.0/16", "http://wiki.example=fd00::/64"])
    for address, allowed in (
        *(("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("fd00::1", True), ("10.2.0.1", False)),
        *(("127.0.0.1", False), ("93.184.216.34", False), ("fd01::1", False)),
    ):
        assert may_connect(address, host.networks) is allowed


@pytest.mark.parametrize("network", [None, "100.64.0.0/10", "fc00::/7"])
def test_where_clouds_give_credentials_is_never_connected_to(network: str | None) -> None:
    (host,) = url_hosts([f"wiki.example={network}" if network else "wiki.example"])
    for address in (
        *("100.100.100.200", "::ffff:100.100.100.200", "168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::a83f:8110"),
        *("192.0.0.192", "fd00:ec2::254", "fd00:ec2::254%eth0", "fd20:ce::254"),
    ):
        assert not may_connect(address, host.networks)
    for address, listed in (("100.100.100.201", "100.64.0.0/10"), ("fd00:ec2::255", "fc00::/7")):
        assert may_connect(address, host.networks) is (network == listed)
    assert may_connect("168.63.129.17", host.networks) is (network is None)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["10.0.0.1", "169.254.169.254"], ["127.0.0.1", "::1"]],
)
async def test_a_name_with_a_private_address_is_not_connected_to(site: Site, addresses: list[str]) -> None:
    site.pages["/a.html"] = Page(HTML)
    settings = FetchSettings(url_hosts([f"http://docs.example.com:{site.port}"]))
    address = site.address("/a.html", "docs.example.com")
    failed = await failure(settings, source(address), resolver=Names(docs_example_com=[addresses]))
    assert (failed.kind, site.visits) == ("private", [])


async def test_the_address_is_checked_when_a_connection_is_made_and_not_before(site: Site) -> None:
    """A name that has an allowed address for robots.txt, and a private one for the page behind it."""
    site.pages["/a.html"] = Page(HTML)
    site.pages["/robots.txt"] = Page("", headers={"Connection": "close"})
    settings = FetchSettings(url_hosts([f"http://docs.example.com:{site.port}=127.0.0.0/30"]))
    names = Names(docs_example_com=[["127.0.0.1"], ["127.0.0.99"]])
    failed = await failure(settings, source(site.address("/a.html", "docs.example.com")), resolver=names)
    assert (failed.kind, site.paths(robots=True), len(names.asked)) == ("private", ["/robots.txt"], 2)


async def test_a_listed_host_of_a_private_network_is_fetched(site: Site) -> None:
    site.pages["/a.html"] = Page(HTML)
    settings = FetchSettings(url_hosts([f"http://wiki.example:{site.port}=127.0.0.0/8"]))
    names = Names(wiki_example=[["127.0.0.1"]])
    assert (await fetch(settings, source(site.address("/a.html", "wiki.example")), resolver=names)).content
    assert site.visits[1].headers["Host"] == f"wiki.example:{site.port}"


async def test_a_number_in_place_of_an_address_is_checked_as_any_other(site: Site) -> None:
    for host in ("2130706433", "127.1", "0x7f000001"):
        settings = FetchSettings(url_hosts([f"http://{host}:{site.port}"]))
        assert (await failure(settings, source(site.address("/", host)))).kind in {"private", "address", "unreachable"}
    assert site.visits == []


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("http://other.example/", "host"),
        ("https://127.0.0.1/", "host"),
        ("http://localhost:1/", "host"),
        ("file:///etc/passwd", "address"),
        ("http://[", "address"),
        ("/again", "redirects"),
    ],
)
async def test_each_redirect_is_checked(site: Site, location: str, kind: str) -> None:
    site.pages["/a.html"] = Page(status=302, headers={"Location": location})
    site.pages["/again"] = Page(status=301, headers={"Location": "/again"})
    failed = await failure(settings_for(site), source(site.address("/a.html")), resolver=Names())
    assert (failed.kind, len(site.paths()) <= 6) == (kind, True)


async def test_a_redirect_to_a_listed_name_on_loopback_is_not_followed(site: Site) -> None:
    site.pages["/a.html"] = Page(status=302, headers={"Location": site.address("/inner", "docs.example.com")})
    site.pages["/inner"] = Page("inner")
    settings = settings_for(site, f"http://docs.example.com:{site.port}")
    names = Names(docs_example_com=[["127.0.0.1"]])
    failed = await failure(settings, source(site.address("/a.html")), resolver=names)
    assert (failed.kind, site.paths()) == ("private", ["/a.html"])


async def test_a_redirect_within_the_allowed_hosts_is_followed_and_kept(site: Site) -> None:
    site.pages["/a"] = Page(status=308, headers={"Location": "b.md?x=1#part"})
    site.pages["/b.md?x=1"] = Page("# Title", headers={"Content-Type": "text/html"})
    found = await fetch(settings_for(site), source(site.address("/a#top")))
    assert (found.content, found.facts["address"]) == (b"# Title", site.address("/b.md")), "a query can be a key"
    assert found.facts["suffix"] == ".md"


async def test_the_query_of_an_address_is_told_to_nobody(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    query = "?token=secret-1234"
    site.pages |= {
        "/robots.txt": Page("User-agent: *\nDisallow: /closed"),
        f"/text{query}": Page("no JSON"),
        f"/again{query}": Page(json.dumps({"items": [], "next": f"/again{query}"})),
        f"/round{query}": Page(status=302, headers={"Location": f"/round{query}"}),
        f"/nowhere{query}": Page(status=302, headers={"Location": f"http://[{query}"}),
        f"/bad{query}": Page("packed", headers={"Content-Encoding": "gzip"}),
        "/signed": Page(status=302, headers={"Location": f"/signed{query}"}),
        f"/signed{query}": Page(HTML, etag='"1"'),
    }
    settings, options = settings_for(site), {"records": "items", "next": "next"}
    for path, kind in (
        *(("/closed", "robots"), ("/text", "not_json"), ("/again", "paging"), ("/round", "redirects")),
        *(("/nowhere", "address"), ("/bad", "unreachable")),
    ):
        failed = await failure(settings, source(site.address(path + query), "api", **options))
        assert failed.kind == kind
        assert "secret" not in str(failed)
    assert "secret" not in str(await failure(settings, source(f"https://[{query}")))
    found = await fetch(settings, source(site.address("/signed")))
    assert found.content == HTML.encode()
    assert "secret" not in repr(found.facts)
    # The mark is that of another address.
    known = replace(source(site.address("/signed")), object_key="knowledge/x", fetched=found.facts)
    assert (await fetch(settings, known)).content == HTML.encode()
    assert "If-None-Match" not in site.visits[-2].headers
    assert "secret" not in caplog.text


async def test_robots_are_respected(site: Site) -> None:
    site.pages["/robots.txt"] = Page(
        "User-agent: *\nDisallow: /\n\nUser-agent: threadkeeper\nDisallow: /*.pdf$\nDisallow: /a\nAllow: /a/public\n"
        f"Disallow: /deep{'/x' * 100_000}\n"
    )
    site.pages |= {path: Page(HTML) for path in ("/a/public", "/b", "/x.pdf", "/a/secret", "/to-secret")}
    site.pages["/to-secret"] = Page(status=302, headers={"Location": "/a/secret"})
    settings = settings_for(site)
    for path in ("/a/public", "/b"):
        assert (await fetch(settings, source(site.address(path)))).content
    for path in ("/x.pdf", "/a/secret", "/to-secret"):
        assert (await failure(settings, source(site.address(path)))).kind == "robots"
    assert "/a/secret" not in site.paths()


async def test_robots_that_are_at_a_host_that_is_not_listed_are_told_as_such(site: Site) -> None:
    site.pages |= {
        "/robots.txt": Page(status=301, headers={"Location": "https://docs.example.com/robots.txt?secret"}),
        "/a": Page(HTML),
    }
    failed = await failure(settings_for(site), source(site.address("/a")), resolver=Names())
    expected = {"host": "127.0.0.1", "origin": "https://docs.example.com"}
    assert (failed.kind, failed.values, site.paths()) == ("robots_moved", expected, [])


@pytest.mark.parametrize(("status", "kind"), [(404, None), (401, None), (500, "robots_unread"), (429, "robots_unread")])
async def test_without_robots_everything_is_allowed_and_with_unknown_ones_nothing(
    site: Site, status: int, kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_LONGEST_WAIT_SECONDS", 0.0)
    site.pages |= {"/robots.txt": Page(status=status), "/a": Page(HTML)}
    if kind is None:
        assert (await fetch(settings_for(site), source(site.address("/a")))).content
    else:
        assert (await failure(settings_for(site), source(site.address("/a")))).kind == kind
        assert site.paths() == []


@pytest.mark.parametrize("status", [204, 401, 403, 404, 410, 500, 429, 503])
async def test_an_answer_without_content_is_told(site: Site, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_LONGEST_WAIT_SECONDS", 0.0)
    site.pages["/a"] = Page("sorry" if status != 204 else "", status=status)
    failed = await failure(settings_for(site), source(site.address("/a")))
    assert (failed.kind, failed.values["status"]) == ("status", status)
    assert len(site.paths()) == (3 if status in (429, 503) else 1), "a busy server is asked again, a few times"


async def test_a_busy_server_that_comes_back_is_heard(site: Site) -> None:
    site.pages["/a"] = Page(status=429, headers={"Retry-After": "0"}, times=1, after=Page(HTML))
    assert (await fetch(settings_for(site), source(site.address("/a")))).content == HTML.encode()


async def test_what_is_slow_ends(site: Site) -> None:
    site.pages["/a"] = Page(HTML, seconds=30)
    asked = settings_for(site, seconds=0.3)
    assert (await failure(asked, source(site.address("/a")))).kind == "timeout"


async def test_an_endless_body_is_left_at_the_limit(site: Site) -> None:
    site.pages["/a"] = Page(None)
    failed = await failure(settings_for(site, megabytes=1), source(site.address("/a")))
    assert failed.kind == "too_large"
    assert site.sent < 16 * 1024 * 1024


async def test_the_size_is_that_of_the_unpacked_content(site: Site) -> None:
    text = "the same words " * 100_000
    site.pages["/a"] = Page(packed(text), headers={"Content-Encoding": "gzip"})
    assert len(packed(text)) < 10_000
    assert (await failure(settings_for(site, megabytes=1), source(site.address("/a")))).kind == "too_large"
    assert (await fetch(settings_for(site, megabytes=2), source(site.address("/a")))).content == text.encode()


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "unknown"])
async def test_an_encoding_that_was_not_asked_for_is_refused(site: Site, encoding: str) -> None:
    site.pages["/a"] = Page(b"packed somehow", headers={"Content-Encoding": encoding})
    assert (await failure(settings_for(site), source(site.address("/a")))).kind in {"encoding", "unreachable"}


async def test_a_broken_gzip_and_a_cut_answer_are_told(site: Site) -> None:
    site.pages["/a"] = Page(b"no gzip at all", headers={"Content-Encoding": "gzip"})
    assert (await failure(settings_for(site), source(site.address("/a")))).kind == "unreachable"
    settings = FetchSettings(url_hosts(["http://127.0.0.1:1=127.0.0.0/8"]))
    assert (await failure(settings, source("http://127.0.0.1:1/"))).kind == "unreachable"


async def test_an_unchanged_page_is_asked_for_with_its_mark(site: Site) -> None:
    site.pages["/a"] = Page(HTML, etag='"one"', headers={"Last-Modified": "Sun, 29 Nov 2026 10:00:00 GMT"})
    settings, asked = settings_for(site), source(site.address("/a"))
    first = await fetch(settings, asked)
    known = replace(asked, object_key="knowledge/x", fetched=first.facts)
    again = await fetch(settings, known)
    assert again.content is None
    assert {**again.facts, "at": ""} == {**first.facts, "at": ""}
    assert site.visits[-1].headers["If-Modified-Since"] == "Sun, 29 Nov 2026 10:00:00 GMT"
    site.pages["/a"] = Page("changed", etag='"two"')
    assert (await fetch(settings, known)).content == b"changed"
    # Without the content, or for another address, nothing is unchanged.
    site.pages |= {"/a": Page(HTML, etag='"one"'), "/b": Page(HTML, etag='"one"')}
    for other in (replace(known, object_key=None), replace(known, options={"address": site.address("/b")})):
        assert (await fetch(settings, other)).content == HTML.encode()


@pytest.mark.parametrize(
    ("path", "headers", "suffix"),
    [
        ("/a.MD", {"Content-Type": "text/plain"}, ".md"),
        ("/a", {"Content-Type": "text/markdown; charset=utf-8"}, ".md"),
        ("/a", {"Content-Type": "application/problem+json"}, ".json"),
        ("/a.json", {"Content-Type": "text/html"}, ".json"),
        ("/a.php", {"Content-Type": "nonsense;;;"}, ""),
        ("/a.pdf", {}, ""),
    ],
)
async def test_the_format_of_a_text_is_that_of_its_address_or_its_type(
    site: Site, path: str, headers: dict[str, str], suffix: str
) -> None:
    site.pages[path] = Page("text", headers=headers)
    assert (await fetch(settings_for(site), source(site.address(path)))).facts["suffix"] == suffix


@pytest.mark.parametrize("charset", ["gb18030", "utf-8", "punycode", "zlib", "nonsense"])
async def test_an_encoding_that_only_the_server_names_is_used(site: Site, charset: str) -> None:
    text = "图书馆早上九点开门。"
    body = text.encode("gb18030" if charset == "gb18030" else "utf-8")
    site.pages["/a"] = Page(body, headers={"Content-Type": f"text/plain; charset={charset}"})
    content = (await fetch(settings_for(site), source(site.address("/a")))).content
    assert content is not None
    assert content.decode("utf-8-sig") == text


def record_pages(site: Site, count: int, make: Callable[[int], tuple[str, Page]]) -> None:
    for number in range(1, count + 1):
        path, page = make(number)
        site.pages[path] = page


def body(number: int, **more: Any) -> str:
    return json.dumps({"items": [{"id": number, "text": f"Text {number}"}], **more})


def pages_of(found: Fetched) -> tuple[list[Any], bool]:
    assert found.content is not None
    whole = json.loads(found.content)
    return whole["pages"], whole["cut"]


async def test_an_api_gives_its_next_address_in_the_answer(site: Site) -> None:
    record_pages(
        site,
        3,
        lambda n: (f"/api?c={n}", Page(body(n, links={"next": f"?c={n + 1}" if n < 3 else None}))),
    )
    found = await fetch(settings_for(site), source(site.address("/api?c=1"), "api", records="items", next="links.next"))
    pages, is_cut = pages_of(found)
    assert ([page["items"][0]["id"] for page in pages], is_cut) == ([1, 2, 3], False)


async def test_an_api_gives_its_next_address_in_a_header(site: Site) -> None:
    record_pages(
        site,
        2,
        lambda n: (
            f"/api/{n}",
            Page(json.dumps([n]), headers={"Link": f'</api/{n + 1}>; rel="next"'} if n < 2 else {}),
        ),
    )
    assert pages_of(await fetch(settings_for(site), source(site.address("/api/1"), "api"))) == ([[1], [2]], False)


@pytest.mark.parametrize("link", ["http://docs.example.com:port/", "http://[docs/"])
@pytest.mark.parametrize("kind", ["url", "api"])
async def test_a_header_with_a_next_address_that_is_none_is_left_out(site: Site, link: str, kind: str) -> None:
    site.pages["/api"] = Page("[1]", headers={"Link": f'<{link}>; rel="next"'})
    assert (await fetch(settings_for(site), source(site.address("/api"), kind))).content


@pytest.mark.parametrize("last", ["empty", "404"])
async def test_an_api_counts_its_pages(site: Site, last: str) -> None:
    record_pages(site, 2, lambda n: (f"/api?size=1&p={n + 4}", Page(body(n))))
    if last == "empty":
        site.pages["/api?size=1&p=7"] = Page('{"items": []}')
    options = {"records": "items", "page": "p"}
    found = await fetch(settings_for(site), source(site.address("/api?size=1&p=5"), "api", **options))
    assert [page["items"] for page in pages_of(found)[0] if page["items"]] == [
        [{"id": n, "text": f"Text {n}"}] for n in (1, 2)
    ]


async def test_an_api_with_too_many_pages_is_cut_and_says_so(site: Site) -> None:
    def page(request: web.Request) -> Page:
        return Page(json.dumps({"items": [1], "next": f"/api?n={int(request.query.get('n', 0)) + 1}"}))

    site.pages |= {"/api": page, **{f"/api?n={number}": page for number in range(10)}}
    found = await fetch(settings_for(site, pages=3), source(site.address("/api"), "api", records="items", next="next"))
    assert (len(pages_of(found)[0]), pages_of(found)[1], len(site.paths())) == (3, True, 3)


@pytest.mark.parametrize(
    ("answer", "options", "kind"),
    [
        ("<html>", {}, "not_json"),
        ('{"a": ', {}, "not_json"),
        ("[" * 5_000, {}, "not_json"),
        (b"\xff\xfe", {}, "not_json"),
        ('{"items": []}', {}, "not_list"),
        ('{"items": {}}', {"records": "items"}, "not_list"),
        ('{"items": [], "next": "/api"}', {"records": "items", "next": "next"}, "paging"),
        ('{"items": [], "next": "http://other.example/"}', {"records": "items", "next": "next"}, "host"),
        ('{"items": [], "next": "http://["}', {"records": "items", "next": "next"}, "address"),
    ],
)
async def test_an_answer_that_is_no_list_of_records_is_told(
    site: Site, answer: str | bytes, options: dict[str, Any], kind: str
) -> None:
    site.pages["/api"] = Page(answer)
    assert (await failure(settings_for(site), source(site.address("/api"), "api", **options))).kind == kind


async def test_all_answers_of_an_api_together_are_within_the_limit(site: Site) -> None:
    long = "x" * 600_000
    record_pages(site, 3, lambda n: (f"/api?p={n}", Page(json.dumps([long]))))
    asked = source(site.address("/api?p=1"), "api", page="p")
    assert (await failure(settings_for(site, megabytes=1), asked)).kind == "too_large"


async def test_a_header_goes_to_its_host_alone(site: Site) -> None:
    async with Site() as other:
        other.pages["/api"] = Page("[2]")
        site.pages["/api"] = Page("[1]", headers={"Link": f'<{other.address("/api")}>; rel="next"'})
        site.pages["/moved"] = Page(status=302, headers={"Location": other.address("/api")})
        settings = replace(
            settings_for(site, f"http://127.0.0.1:{other.port}=127.0.0.0/8"),
            headers={"KNOWLEDGE_HEADER_WIKI": FetchHeader(f"127.0.0.1:{site.port}", "X-Key", "secret-1234")},
        )
        for path in ("/api", "/moved"):
            asked = source(site.address(path), "api", header="KNOWLEDGE_HEADER_WIKI")
            found = await fetch(settings, asked)
            assert b"secret" not in (found.content or b"") + repr(found.facts).encode()
        assert {visit.headers.get("X-Key") for visit in site.visits if visit.path != "/robots.txt"} == {"secret-1234"}
        assert "X-Key" not in site.visits[0].headers, "robots.txt needs no key"
        assert all("X-Key" not in visit.headers for visit in other.visits)
        for name, address in (
            ("KNOWLEDGE_HEADER_WIKI", other.address("/api")),
            ("KNOWLEDGE_HEADER_OTHER", site.address("/api")),
            ("PATH", site.address("/api")),
        ):
            failed = await failure(settings, source(address, "api", header=name))
            assert failed.kind == "header"
            assert "secret" not in str(failed)


async def test_https_needs_a_certificate_that_is_valid(tmp_path: Path) -> None:
    file = self_signed(tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(file)
    async with Site(served) as site:
        site.pages["/a"] = Page(HTML)
        settings = FetchSettings(url_hosts([f"127.0.0.1:{site.port}=127.0.0.0/8"]))
        assert (await failure(settings, source(site.address("/a")))).kind == "certificate"
        trusted = ssl.create_default_context(cafile=str(file))
        assert (await fetch(settings, source(site.address("/a")), tls=trusted)).content == HTML.encode()


async def test_sources_of_one_training_are_fetched_together(site: Site) -> None:
    site.pages |= {f"/{number}": Page(HTML) for number in range(8)}
    fetcher = Fetcher(settings_for(site))
    try:
        found = await asyncio.gather(*(fetcher.fetch(source(site.address(f"/{number}"))) for number in range(8)))
    finally:
        await fetcher.close()
    assert len(found) == 8
    assert site.paths(robots=True).count("/robots.txt") == 1


@pytest.mark.parametrize("kind", get_args(FetchFailure))
def test_every_failure_has_a_sentence_in_both_languages(kind: FetchFailure) -> None:
    names = ("address", "host", "origin", "status", "encoding", "megabytes", "name", "path", "count")
    told = {"state": "failed", "kind": kind, "values": dict.fromkeys(names, "VALUE")}
    for language in ("en", "zh"):
        sentence = say_fetch(told, "Page", language)
        assert sentence
        assert sentence in (say_fetch({**told, "kept": "2026-11-29T10:00:00Z"}, "Page", language) or "")
    assert say_fetch({"state": "new", "at": "now"}, "Page", "en") is None


@pytest.mark.parametrize(
    "entry",
    [
        *("docs example.com", "https://", "ftp://docs.example.com", "docs.example.com/path", "*.example.com", "a@b"),
        *("docs.example.com:0", "docs.example.com:70000", "文档.example", "wiki.example=", "wiki.example=0.0.0.0/0"),
        *("wiki.example=8.8.8.0/24", "wiki.example=169.254.0.0/16", "wiki.example=::/0", "wiki.example=10.0.0.1/8"),
        "wiki.example=fe80::/10",
    ],
)
def test_an_entry_of_the_hosts_that_is_not_valid_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="contain"):
        url_hosts([entry])


def test_entries_of_the_hosts_are_origins() -> None:
    found = url_hosts(["Docs.Example.com", "http://docs.example.com", "https://[fd00::1]:8443/=fd00::/8"])
    assert [(host.scheme, host.host, host.port, len(host.networks)) for host in found] == [
        ("https", "docs.example.com", 443, 0),
        ("http", "docs.example.com", 80, 0),
        ("https", "fd00::1", 8443, 1),
    ]
    with pytest.raises(ValueError, match="twice"):
        url_hosts(["wiki.example", "wiki.example=10.0.0.0/8"])
