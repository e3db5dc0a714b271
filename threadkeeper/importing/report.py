"""A report of an import in plain lines, for the terminal."""

from collections.abc import Iterator

from threadkeeper.importing.importer import Report

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


def lines_of(report: Report, *, is_dry_run: bool) -> Iterator[str]:
    """The counts first, then what is left out, then each conversation that could not be read."""
    kept = ", ".join(f"{report.counts[key]} {name}" for key, name in _KEPT.items() if report.counts[key])
    yield f"{report.source}: {report.conversations} conversations with {kept or 'no messages'}."
    if report.oldest and report.newest:
        yield f"From {report.oldest[:10]} to {report.newest[:10]}."
    would = "Would import" if is_dry_run else "Imported"
    yield f"{would} {report.new} threads. {report.existing} exist already."
    for key, count in sorted(report.left_out.items()):
        yield f"Left out: {count} {_LEFT_OUT.get(key, key.replace('_', ' '))}."
    if report.failed:
        yield f"{report.failed} conversations could not be read:"
        for one in report.failures:
            # `ascii` would hide Chinese titles; `repr` escapes control characters, which could move the cursor.
            yield f"  {one.name!r}: {one.reason}"
        if report.failed > len(report.failures):
            yield f"  and {report.failed - len(report.failures)} more"
