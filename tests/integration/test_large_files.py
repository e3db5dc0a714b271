"""Large files in the running application, uploaded by the page and downloaded from `/files`, in constant memory."""

import asyncio
import hashlib
import re
from pathlib import Path

import chainlit as cl
import httpx
import pytest

import datalayer
from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.patience import PATIENCE_SECONDS
from tests.support.records import new_id, opened, thread
from tests.support.server import SERVE, AppServer
from threadkeeper.web.files import file_url

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

PASSWORD = "a long password"
MEGABYTES = 250
# A few buffered chunks and the memory that the allocator keeps. The whole file would be more than twice that.
MOST_GROWN_MEGABYTES = 100


def peak_megabytes(server: AppServer) -> float:
    """The peak memory of the server."""
    status = Path(f"/proc/{server.process_id}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


async def test_a_large_file_is_uploaded_and_downloaded_in_constant_memory(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = await start_server(SERVE, OPENAI_MODELS="echo", ATTACHMENT_MAX_MEGABYTES=str(MEGABYTES))
    await server.add_user("alice", PASSWORD)
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(MEGABYTES * 1024**2)
    async with ChatClient(server.base_url, "alice", PASSWORD) as client:
        # The code is loaded and the connection pools are filled.
        await client.upload("small.txt", b"x" * 1024**2, "text/plain")
        before = peak_megabytes(server)
        with large.open("rb") as file:
            answer = await client.http.post(
                "/project/file",
                params={"session_id": client.session_id},
                files={"file": ("large.txt", file, "text/plain")},
                timeout=300,
            )
        assert answer.status_code == httpx.codes.OK
        uploaded = peak_megabytes(server)
        kept = list((server.directory / "root" / ".files").rglob(f"{answer.json()['id']}.*"))
        assert [path.stat().st_size for path in kept] == [MEGABYTES * 1024**2]

        async with server.layer() as layer:
            with datalayer.acting_as("alice"):
                owner = await layer.get_user("alice")
                assert owner is not None
                thread_id = await thread(layer, owner.id)
                element = cl.File(thread_id=thread_id, for_id=new_id(), name="large.txt", path=str(large))
                await layer.create_element(element)
                found = await opened(layer, thread_id, element.id)
        assert found is not None
        digest = hashlib.sha256()
        async with client.http.stream("GET", file_url(found[0]), timeout=300) as download:
            async for chunk in download.aiter_raw(1024**2):
                digest.update(chunk)
        assert digest.hexdigest() == found[0].sha256
        downloaded = peak_megabytes(server)
    print(f"peak of the server: {before:.0f} MB, after the upload {uploaded:.0f}, after the download {downloaded:.0f}")
    assert uploaded - before < MOST_GROWN_MEGABYTES
    assert downloaded - uploaded < MOST_GROWN_MEGABYTES


async def test_an_upload_over_the_limit_is_refused_before_it_is_read(start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS="echo", ATTACHMENT_MAX_MEGABYTES="1")
    await server.add_user("alice", PASSWORD)
    async with ChatClient(server.base_url, "alice", PASSWORD) as client:
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.http.cookies.jar)
        for session_id, cookie, status in (
            (client.session_id, cookies, 400),
            (client.session_id, "", 401),
            (new_id(), cookies, 404),
        ):
            # The body is announced but not sent, so a server that waits for it does not answer.
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                f"POST /project/file?session_id={session_id} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n"
                f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {10**10}\r\n\r\n".encode()
            )
            # An unknown session may be opened within ten seconds.
            answer = await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)
            writer.close()
            assert answer.split()[1] == str(status).encode()
