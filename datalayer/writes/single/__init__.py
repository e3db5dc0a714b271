"""Writes of one statement each, for an engine whose CTEs can change tables (`Dialect.changes_in_ctes`).

A statement checks what the actor may do, changes every table that the write concerns, and gives what its caller needs
to tell a refusal from a missing record. It is its own transaction and takes one round trip. The other engines apply the
same writes with several statements in a transaction (`writes.apply`); `tests/contracts` compare the results.

All parts of a statement see the database as it was when the statement began, and triggers fire at its end. So a part
that must see a change uses the RETURNING of the part that makes it. A part that reads the thread locks it first, as the
statement for steps does, so that no two statements wait for each other.
"""
