"""The served page loads only from this server, and has what Chainlit needs in it."""

import gzip
import multiprocessing
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from importlib.metadata import version
from multiprocessing.synchronize import Barrier
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from threadkeeper.web.frontend import PLACEHOLDERS, FrontendError, _packaged_frontend, localize_page, prepare_frontend

HEAD = "".join(f"<!-- {placeholder} -->\n" for placeholder in PLACEHOLDERS)


class Urls(HTMLParser):
    """All attributes of a page that could be URLs, read differently than in the code under test."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"href", "src", "srcset", "content"} and value]


def test_the_page_loads_from_no_other_host_and_keeps_its_own_parts(tmp_path: Path) -> None:
    page = (prepare_frontend(tmp_path) / "index.html").read_text(encoding="utf-8")

    assert "//" not in re.sub(r"<!--.*?-->", "", page, flags=re.DOTALL)
    urls = Urls(page).found
    assert not [url for url in urls if urlsplit(url).netloc]
    assert [url for url in urls if re.fullmatch(r"/assets/index-.+\.js", url)]
    assert [url for url in urls if re.fullmatch(r"/assets/index-.+\.css", url)]
    assert '<div id="root">' in page
    for placeholder in (*PLACEHOLDERS, "FONT START", "FONT END"):
        assert page.count(f"<!-- {placeholder} -->") == 1


def test_a_word_behind_a_colon_is_no_directive(tmp_path: Path) -> None:
    """That the page shows it is tested in the browser: `tests/e2e/test_page.py`."""
    made, packaged = prepare_frontend(tmp_path) / "assets", _packaged_frontend() / "assets"
    name = next(packaged.glob("index-*.js")).name
    ours, theirs = (folder.joinpath(name).read_text(encoding="utf-8") for folder in (made, packaged))
    extension = re.search(r"\{text:\{58:\w+\},(flow:\{58:\[\w+),\w+\]\}\}", theirs)
    assert extension, "the package's own file is as it was"
    assert ours == theirs.replace(extension[0], f"{{{extension[1]}]}}}}")


async def test_chainlit_serves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import chainlit.server  # noqa: PLC0415

    monkeypatch.setattr(chainlit.server, "build_dir", str(prepare_frontend(tmp_path)))
    transport = httpx.ASGITransport(chainlit.server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        page = (await client.get("/")).text
        assert "fonts.googleapis.com" not in page
        assert "cdn.jsdelivr.net" not in page
        for url in re.findall(r'"(/assets/index-[^"]+)"', page):
            answer = await client.get(url)
            assert answer.status_code == 200
            assert len(answer.content) > 1000
        assert (await client.get("/assets/%2e%2e/index.html")).status_code == 400


async def test_a_file_of_the_page_is_compressed_once_and_sent_once_to_each_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import chainlit.server  # noqa: PLC0415

    from threadkeeper.web import chainlit_routes  # noqa: PLC0415

    directory = prepare_frontend(tmp_path)
    monkeypatch.setattr(chainlit.server, "build_dir", str(directory))
    compress = Mock(side_effect=gzip.compress)
    monkeypatch.setattr(gzip, "compress", compress)
    app = FastAPI(routes=chainlit_routes.chainlit_router().routes)
    script = next((directory / "assets").glob("index-*.js"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test/assets/") as client:
        packed, again = [await client.get(script.name, headers={"Accept-Encoding": "gzip"}) for _ in range(2)]
        plain = await client.get(script.name, headers={"Accept-Encoding": "identity"})
        for answer in (packed, again, plain):
            assert answer.content == script.read_bytes()
            assert "javascript" in answer.headers["content-type"]
            assert (answer.headers["cache-control"], answer.headers["vary"]) == ("no-cache", "Accept-Encoding")
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) < len(packed.content) / 3
        assert "content-encoding" not in plain.headers
        assert compress.call_count == 1

        tag = packed.headers["etag"]
        assert tag != plain.headers["etag"]
        for known in (tag, f'"another", W/{tag}'):
            seen = await client.get(script.name, headers={"If-None-Match": known, "Accept-Encoding": "gzip"})
            assert (seen.status_code, seen.content, seen.headers["etag"]) == (304, b"", tag)
        # Another version of the page has another folder.
        newer = directory.rename(tmp_path / "newer")
        monkeypatch.setattr(chainlit.server, "build_dir", str(newer))
        assert (await client.get(script.name, headers={"If-None-Match": tag})).status_code == 200
        assert (await client.get("none.js")).status_code == 404
        assert (await client.get("%2e%2e/index.html")).status_code == 400


def test_only_links_to_other_hosts_are_removed() -> None:
    page = (
        '<head>\n  <meta charset="utf-8">\n'
        '  <link rel="preconnect" href="https://fonts.example" />\n'
        "  <link\n     rel=stylesheet\n     href='//cdn.example/a.css'\n  >\n"
        '  <link rel="icon" href="data:image/svg+xml,%3Csvg xmlns=\'http://www.w3.org/2000/svg\'/%3E">\n'
        f'{HEAD}  <link rel="stylesheet" href="/a.css"><LINK HREF="https://b.example"><!-- https://c.example -->\n'
        '</head><svg xmlns="http://www.w3.org/2000/svg"></svg>\n<script>\n  // ours & yours\n</script>'
    )
    assert localize_page(page) == (
        '<head>\n  <meta charset="utf-8">\n'
        '  <link rel="icon" href="data:image/svg+xml,%3Csvg xmlns=\'http://www.w3.org/2000/svg\'/%3E">\n'
        f'{HEAD}  <link rel="stylesheet" href="/a.css"><!-- https://c.example -->\n'
        '</head><svg xmlns="http://www.w3.org/2000/svg"></svg>\n<script>\n  // ours & yours\n</script>'
    )


@pytest.mark.parametrize(
    "addition",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<script src="//cdn.example/a.js"></script>',
        '<script>import("https://cdn.example/a.js")</script>',
        "<script>load('//cdn.example/a.js')</script>",
        "<style>@import url(//cdn.example/a.css)</style>",
        '<img srcset="/a.png 1x, //cdn.example/a.png 2x">',
        '<div style="background: url(https://cdn.example/a.png)"></div>',
        '<meta http-equiv="refresh" content="1; url=https://example.com">',
        '<script>new WebSocket("wss://example.com")</script>',
    ],
)
def test_a_page_that_still_loads_from_another_host_is_refused(addition: str) -> None:
    with pytest.raises(FrontendError, match=r"another host.*example.*requirements\.lock"):
        localize_page(f"<head>{HEAD}</head>{addition}")


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_page_without_a_placeholder_is_refused(placeholder: str) -> None:
    with pytest.raises(FrontendError, match=placeholder):
        localize_page(HEAD.replace(placeholder, "SOMETHING ELSE"))


def test_a_second_start_reuses_the_directory(tmp_path: Path) -> None:
    first = prepare_frontend(tmp_path)
    made = (first / "index.html").stat()
    assert prepare_frontend(tmp_path) == first
    found = (first / "index.html").stat()
    # Not the whole record: its time of last access changes when the page is read.
    assert (found.st_ino, found.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert [entry.name for entry in tmp_path.iterdir()] == [first.name]
    assert version("chainlit") in first.name


@pytest.mark.parametrize("damage", ["no page", "half a page", "no assets"])
def test_a_damaged_directory_is_made_again(tmp_path: Path, damage: str) -> None:
    directory = prepare_frontend(tmp_path)
    page = (directory / "index.html").read_text(encoding="utf-8")
    match damage:
        case "no page":
            (directory / "index.html").unlink()
        case "half a page":
            (directory / "index.html").write_text(page[:100], encoding="utf-8")
        case "no assets":
            shutil.rmtree(directory / "assets")

    assert prepare_frontend(tmp_path) == directory
    assert (directory / "index.html").read_text(encoding="utf-8") == page
    assert any((directory / "assets").iterdir())
    assert [entry.name for entry in tmp_path.iterdir()] == [directory.name]


def _prepare(targets: list[Path], barrier: Barrier) -> None:
    try:
        for target in targets:
            barrier.wait()
            directory = prepare_frontend(target)
            assert (directory / "index.html").is_file()
            assert any((directory / "assets").iterdir())
    except BaseException:
        # The others do not wait for this one.
        barrier.abort()
        raise


@pytest.mark.slow
def test_concurrent_processes_share_a_directory(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    targets, barrier = [tmp_path / str(attempt) for attempt in range(3)], context.Barrier(4)
    processes = [context.Process(target=_prepare, args=(targets, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert [len(list(target.iterdir())) for target in targets] == [1, 1, 1]


def test_where_links_are_refused_the_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    directory = prepare_frontend(tmp_path)
    names = {entry.name for entry in (directory / "assets").iterdir()}
    assert any(name.endswith(".js") for name in names)
    assert not any(name.endswith(".map") for name in names)


@pytest.fixture
def another_chainlit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package called chainlit, version 9.9.9, that stands before the installed one; returns its front end."""
    packages = tmp_path / "packages"
    frontend = packages / "chainlit" / "frontend" / "dist"
    (frontend / "assets").mkdir(parents=True)
    (packages / "chainlit" / "__init__.py").touch()
    (packages / "chainlit-9.9.9.dist-info").mkdir()
    (packages / "chainlit-9.9.9.dist-info" / "METADATA").write_text("Name: chainlit\nVersion: 9.9.9\n")
    (frontend / "index.html").write_text(HEAD)
    monkeypatch.syspath_prepend(packages)
    for name in [name for name in sys.modules if name.partition(".")[0] == "chainlit"]:
        monkeypatch.delitem(sys.modules, name)
    return frontend


def test_another_version_of_chainlit_gets_its_own_directory(
    tmp_path: Path, another_chainlit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = prepare_frontend(tmp_path / "frontend")
    assert "9.9.9" in newer.name
    assert (newer / "index.html").read_text() == HEAD

    (another_chainlit / "index.html").write_text(f"{HEAD}<p>")
    rebuilt = prepare_frontend(tmp_path / "frontend")
    assert rebuilt != newer
    assert newer.is_dir()

    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path) != tmp_path / "packages"])
    assert version("chainlit") in prepare_frontend(tmp_path / "frontend").name


def test_a_chainlit_without_a_front_end_is_refused(tmp_path: Path, another_chainlit: Path) -> None:
    another_chainlit.rename(another_chainlit.with_name("away"))
    with pytest.raises(FrontendError, match="without its built front end"):
        prepare_frontend(tmp_path / "frontend")
    assert not (tmp_path / "frontend").exists()
