#!/usr/bin/env bash
# Guess: with several hosts in the address of a database, the time-out of a connection is that of each host, as libpq's
#   `connect_timeout` is: when the first host does not answer, the second is asked after it.
# True: asyncpg's `timeout` is one for all hosts together. A first host that is silent (switched off behind a router that
#   drops packets, or hung with its port open) uses it up, and the second is never asked; a longer time-out only takes
#   longer to fail. A first host that refuses the connection is no such case, so a test that stops the server on the
#   same machine sees the change of hosts work. psycopg asks the second after the first one's time.
# For a chat like ours: the standby has taken over and is named in the address, yet no connection comes about until
#   somebody removes the dead host. Connect to one host at a time, each with a time-out of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check asyncpg==0.32.0 'psycopg[binary]==3.3.9'
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import socket
import sys
import threading

import asyncpg
import psycopg

asked, held = [], []


def first(server):
    """Take connections and say nothing."""
    while True:
        held.append(server.accept()[0])
        asked.append("first")


def second(server):
    """Answer as Postgres does: no encryption, then a refusal that only this server has."""
    while True:
        connection, _ = server.accept()
        asked.append("second")
        if len(connection.recv(1000)) == 8:
            connection.sendall(b"N")
            connection.recv(1000)
        fields = b"SFATAL\0VFATAL\0C57P03\0Mthe second answers\0\0"
        connection.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        connection.close()


def started(work):
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=work, args=(server,), daemon=True).start()
    return server.getsockname()[1]


with socket.create_server(("127.0.0.1", 0)) as closed:
    REFUSES = closed.getsockname()[1]
SILENT, ANSWERS = started(first), started(second)


def address(port):
    return f"postgresql://one@/one?host=127.0.0.1,127.0.0.1&port={port},{ANSWERS}"


def by_asyncpg(port):
    async def connect():
        await asyncpg.connect(address(port), timeout=3)

    asyncio.run(connect())


def by_psycopg(port):
    psycopg.connect(address(port), connect_timeout=3)


seen = {}
for name, connect in (("asyncpg", by_asyncpg), ("psycopg", by_psycopg)):
    for how, port in (("silent", SILENT), ("refuses", REFUSES)):
        asked.clear()
        try:
            connect(port)
        except (OSError, asyncpg.PostgresError, psycopg.OperationalError) as error:
            seen[name, how] = ("second" in asked, type(error).__name__, "the second answers" in str(error))
print("asyncpg", asyncpg.__version__, "psycopg", psycopg.__version__)
print("guess: the second host is asked by both, whether the first is silent or refuses")
for (name, how), (was_asked, error, _) in seen.items():
    print(f"seen:  {name}, the first {how}: the second is {'asked' if was_asked else 'not asked'}, {error}")
silent, *others = (outcome[0] for outcome in seen.values())
if silent or seen["asyncpg", "silent"][1] != "TimeoutError" or others != [True] * 3:
    sys.exit("The behaviour has changed.")
PY
