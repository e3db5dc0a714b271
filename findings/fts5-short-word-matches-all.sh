#!/usr/bin/env bash
# Guess: more words in a full-text query find fewer rows; a word that cannot be found makes the result empty.
# True: with FTS5's trigram tokenizer, a word of one or two characters has no token. Alone it finds nothing, but beside
#   another word it is left out of the query: `policy 退款` finds every row with "policy", also those without 退款, and
#   `policy NOT 退款` excludes nothing.
# For a chat like ours: a search for two words shows threads with only one of them, and nothing says that half of the
#   query was dropped. Check the length of every word, not of the whole query.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps pysqlite3-binary==0.5.4
"$folder/venv/bin/python" - <<'PY'
import sys

from pysqlite3 import dbapi2 as sqlite3

connection = sqlite3.connect(":memory:")
connection.execute("CREATE VIRTUAL TABLE messages USING fts5(body, tokenize='trigram')")
ROWS = ("refund policy 退款", "privacy policy", "security policy of a chat", "退款 only")
connection.executemany("INSERT INTO messages VALUES (?)", [(row,) for row in ROWS])


def found(query):
    return connection.execute("SELECT count(*) FROM messages WHERE messages MATCH ?", (query,)).fetchone()[0]


GUESSES = {"policy": 3, "退款": 0, "policy 退款": 0, "policy NOT 退款": 2, "policy privacy": 1}
seen = {query: found(query) for query in GUESSES}
print("SQLite", sqlite3.sqlite_version)
for query, count in seen.items():
    print(f"{query!r}: guess {GUESSES[query]} rows, seen {count}")
if seen != GUESSES | {"policy 退款": 3, "policy NOT 退款": 3}:
    sys.exit("The behaviour has changed.")
PY
