"""A report of an import in plain lines, for the terminal; and which threads are too old to stay."""

from collections.abc import Iterator

from datalayer.cleaning import utc_in
from threadkeeper.importing.importer import Report
from threadkeeper.language.numbers import counted

_DAY_SECONDS = 24 * 3600.0
_KEPT = {
    "messages": ("message", "messages"),
    "versions": ("message of other branches, as an earlier version", "messages of other branches, as earlier versions"),
    "thoughts": ("thought", "thoughts"),
    "tools": ("tool run", "tool runs"),
    "files": ("file", "files"),
    "votes": ("vote", "votes"),
    "archived": ("archived", "archived"),
    "pinned": ("pinned", "pinned"),
}
_LEFT_OUT = {
    "missing_files": ("file that the export does not have", "files that the export does not have"),
    "duplicates": ("conversation that the export has twice", "conversations that the export has twice"),
    "notices": ("notice of the chat itself", "notices of the chat itself"),
    "other_activity": ("activity that is no question", "activities that are no questions"),
    "other_content": ("part of a message of an unknown kind", "parts of messages of an unknown kind"),
}


def expired_before(retention_days: int | None) -> str | None:
    """The time before which threads are deleted by the retention; None without one."""
    return utc_in(-retention_days * _DAY_SECONDS) if retention_days else None


def lines_of(report: Report, *, is_dry_run: bool) -> Iterator[str]:
    """The counts first, then what is left out, then each conversation that could not be read."""
    kept = ", ".join(counted(report.counts[key], *nouns) for key, nouns in _KEPT.items() if report.counts[key])
    yield f"{report.source}: {counted(report.conversations, 'conversation')} with {kept or 'no messages'}."
    if report.oldest and report.newest:
        yield f"From {report.oldest[:10]} to {report.newest[:10]}."
    would = "Would import" if is_dry_run else "Imported"
    yield f"{would} {counted(report.new, 'thread')}. {counted(report.existing, 'exists', 'exist')} already."
    if report.expiring:
        old = "older than RETENTION_THREADS_DAYS: the next run of the retention deletes what is so old"
        yield f"{counted(report.expiring, 'of them is', 'of them are')} {old}."
    if report.grown:
        have = counted(report.grown, "of those that exist has", "of those that exist have")
        yield f"{have} newer messages here, which are not imported: delete the thread first."
    for key, count in sorted(report.left_out.items()):
        unnamed = key.replace("_", " ")
        yield f"Left out: {counted(count, *_LEFT_OUT.get(key, (unnamed, unnamed)))}."
    if report.failed:
        yield f"{counted(report.failed, 'conversation')} could not be read:"
        for one in report.failures:
            # `ascii` would hide Chinese titles; `repr` escapes control characters, which could move the cursor.
            yield f"  {one.name!r}: {one.reason}"
        if report.failed > len(report.failures):
            yield f"  and {report.failed - len(report.failures)} more"
