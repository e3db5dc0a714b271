#!/usr/bin/env bash
# Guess: after `asyncpg.connect` has raised, for example because the server refuses a setting, its connection is closed.
# True: without TLS, it is. With TLS, asyncpg asks for the end of TLS and does not wait: the socket stays open until the
#   event loop has read the server's end, or for 30 seconds. If the loop ends first, the socket is never closed, and a
#   ResourceWarning comes whenever Python collects it, with neither a stack nor the name of a library.
# For a chat like ours: with warnings as errors, a test of a refused connection makes a later one fail, now and then.
#   After such a test, let the loop go on until its transports are closing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check asyncpg==0.32.0 trustme==1.2.1
"$folder/venv/bin/python" - <<'PY'
import asyncio
import gc
import socket
import ssl
import sys
import threading
import time
import warnings
from importlib.metadata import version

import asyncpg
import trustme

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
trustme.CA().issue_cert("localhost").configure_cert(TLS)
WORDS = (b"SFATAL", b"VFATAL", b"C42704", b'Munrecognized configuration parameter "no_such_setting"')
FIELDS = b"".join(field + b"\0" for field in WORDS) + b"\0"
REFUSAL = b"E" + (len(FIELDS) + 4).to_bytes(4, "big") + FIELDS
BUSY_SECONDS = 0.3


def serve(listener):
    """One connection as Postgres answers it: TLS where it is asked for, the refusal, and the end a moment later."""
    connection, _ = listener.accept()
    first = connection.recv(1024)
    if len(first) == 8:  # a request for TLS
        connection.sendall(b"S")
        connection = TLS.wrap_socket(connection, server_side=True)
        connection.recv(1024)
    connection.sendall(REFUSAL)
    time.sleep(BUSY_SECONDS)
    connection.close()


def open_sockets(address):
    """How many sockets of this process are connected to the address."""
    found = 0
    for one in gc.get_objects():
        if isinstance(one, socket.socket) and one.fileno() != -1:
            try:
                found += one.getpeername() == address
            except OSError:
                pass
    return found


async def refused(address, mode):
    url = f"postgresql://someone@{address[0]}:{address[1]}/chats"
    try:
        await asyncpg.connect(url, ssl=mode, server_settings={"no_such_setting": "1"})
    except asyncpg.UndefinedObjectError:
        # Each callback that is due gets its turn.
        for _ in range(3):
            await asyncio.sleep(0)
        return open_sockets(address)
    return "connected"


def measure(mode):
    with socket.create_server(("127.0.0.1", 0)) as listener, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        server = threading.Thread(target=serve, args=[listener])
        server.start()
        loop = asyncio.new_event_loop()
        left = loop.run_until_complete(refused(listener.getsockname(), mode))
        loop.close()
        gc.collect()
        server.join()
    return left, sorted({str(one.message).split(" <")[0] for one in warned if "unclosed" in str(one.message)})


seen = {mode: measure(mode) for mode in ("disable", "require")}
print("asyncpg", version("asyncpg"), " Python", sys.version.split()[0])
print("guess: 0 sockets are open when connect has raised, and no warning comes")
for mode, (left, warned) in seen.items():
    print(f"seen:  sslmode={mode}: {left} open when connect has raised; warnings: {', '.join(warned) or 'none'}")
if seen != {"disable": (0, []), "require": (1, ["unclosed", "unclosed transport"])}:
    sys.exit("The behaviour has changed.")
PY
