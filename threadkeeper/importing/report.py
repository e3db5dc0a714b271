"""A report of an import in plain lines, for the terminal; and which threads are too old to stay."""

from collections.abc import Iterator

from datalayer.cleaning import utc_in
from threadkeeper.importing.importer import Report

_DAY_SECONDS = 24 * 3600.0
_KEPT = {
    "messages": "messages",
    "versions": "messages of other branches, as earlier versions",
    "thoughts": "thoughts",
    "tools": "tool runs",
    "files": "files",
    "votes": "votes",
    "archived": "archived",
    "pinned": "pinned",
}
_LEFT_OUT = {
    "missing_files": "files that the export does not have",
    "duplicates": "conversations that the export has twice",
    "notices": "notices of the chat itself",
    "other_activity": "activities that are no questions",
    "other_content": "parts of messages of an unknown kind",
}


def expired_before(retention_days: int | None) -> str | None:
    """The time before which threads are deleted by the retention; None without one."""
    return utc_in(-retention_days * _DAY_SECONDS) if retention_days else None


def lines_of(report: Report, *, is_dry_run: bool) -> Iterator[str]:
    """The counts first, then what is left out, then each conversation that could not be read."""
    kept = ", ".join(f"{report.counts[key]} {name}" for key, name in _KEPT.items() if report.counts[key])
    yield f"{report.source}: {report.conversations} conversations with {kept or 'no messages'}."
    if report.oldest and report.newest:
        yield f"From {report.oldest[:10]} to {report.newest[:10]}."
    would = "Would import" if is_dry_run else "Imported"
    yield f"{would} {report.new} threads. {report.existing} exist already."
    if report.expiring:
        old = "older than RETENTION_THREADS_DAYS: the next run of the retention deletes them"
        yield f"{report.expiring} of them are {old}."
    if report.grown:
        yield f"{report.grown} of those that exist have newer messages here, which are not imported: delete them first."
    for key, count in sorted(report.left_out.items()):
        yield f"Left out: {count} {_LEFT_OUT.get(key, key.replace('_', ' '))}."
    if report.failed:
        yield f"{report.failed} conversations could not be read:"
        for one in report.failures:
            # `ascii` would hide Chinese titles; `repr` escapes control characters, which could move the cursor.
            yield f"  {one.name!r}: {one.reason}"
        if report.failed > len(report.failures):
            yield f"  and {report.failed - len(report.failures)} more"
