#!/usr/bin/env bash
# Guess: a trigram index of SQLite's FTS5 cannot find a word of two characters by MATCH, but LIKE '%...%' on the same
#   table finds it, only slower, because it then reads every row.
# True: up to SQLite 3.40 (Debian 12), LIKE on a trigram table counts bytes where it means characters. Two Chinese
#   characters have six bytes, so LIKE asks the index after all, and finds nothing. Two Latin letters are found.
#   A "+" before the column, which keeps the index out, finds both. From 3.42 on, LIKE is right.
# For a chat like ours: most Chinese words have two characters, and LIKE is the usual way out for short words. On Debian
#   12 that search is empty without an error. Index character pairs instead, and test on the oldest SQLite.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for release in 0.5.0 0.5.1; do
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --target "$folder/$release" "pysqlite3-binary==$release"
  PYTHONPATH="$folder/$release" "$folder/venv/bin/python" - <<'PY' | tee -a "$folder/seen"
from pysqlite3 import dbapi2 as sqlite3

connection = sqlite3.connect(":memory:")
connection.execute("CREATE VIRTUAL TABLE messages USING fts5(body, tokenize='trigram')")
connection.execute("INSERT INTO messages VALUES ('我们的退款政策很简单'), ('a go program')")


def found(condition, word):
    return connection.execute(f"SELECT count(*) FROM messages WHERE {condition} LIKE ?", (f"%{word}%",)).fetchone()[0]


print(f"SQLite {sqlite3.sqlite_version}: rows with 退款: {found('body', '退款')}, with +body: {found('+body', '退款')},"
      f" rows with go: {found('body', 'go')}")
PY
done
echo "guess: 1 everywhere"
if [ "$(cat "$folder/seen")" != "SQLite 3.40.0: rows with 退款: 0, with +body: 1, rows with go: 1
SQLite 3.42.0: rows with 退款: 1, with +body: 1, rows with go: 1" ]; then
  echo "The behaviour has changed." >&2
  exit 1
fi
