"""The report of a transfer: counts for each kind of record, and findings with examples."""

import logging
from dataclasses import dataclass, field, fields
from typing import Protocol

logger = logging.getLogger(__name__)

EXAMPLES = 3


@dataclass(slots=True)
class Counts:
    """The records of one kind. In a dry run, `stored` and `replaced` are what a real run would store now."""

    found: int = 0
    """In the source."""
    stored: int = 0
    """Which the target did not have."""
    replaced: int = 0
    """Of which the target had an earlier state."""
    left_out: int = 0
    """Not for the target, such as the contents of a deleted thread. Findings say why."""
    failed: int = 0
    """Which cannot be stored. Findings name them."""
    differing: int = 0
    """Which are different in the target, and stay so: they may have been changed there."""
    missing: int = 0
    """Which the target lacks, or has in an earlier state, by the comparison at the end."""

    @property
    def there(self) -> int:
        """The number of those that the target had before."""
        return max(self.found - self.stored - self.replaced - self.left_out - self.failed - self.differing, 0)

    @property
    def problems(self) -> int:
        return self.failed + self.differing + self.missing


@dataclass(slots=True)
class Finding:
    """A number of records that the operator should know about, with some of their ids."""

    what: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class TransferReport:
    """What was copied (`applied`), or would be."""

    applied: bool
    names: bool = True
    """Whether each record that cannot be stored is logged."""
    users: Counts = field(default_factory=Counts)
    threads: Counts = field(default_factory=Counts)
    steps: Counts = field(default_factory=Counts)
    elements: Counts = field(default_factory=Counts)
    votes: Counts = field(default_factory=Counts)
    changes_of_votes: Counts = field(default_factory=Counts)
    marks_of_deleted_threads: Counts = field(default_factory=Counts)
    files_to_delete: Counts = field(default_factory=Counts)
    files: Counts = field(default_factory=Counts)
    long_texts: Counts = field(default_factory=Counts)
    """Which DynamoDB keeps in the file store."""
    findings: dict[str, Finding] = field(default_factory=dict)
    not_moved: dict[str, int] = field(default_factory=dict)
    """Rows of the SQL database that DynamoDB has no place for, by the feature they belong to."""

    def note(self, what: str, example: str, count: int = 1) -> None:
        """Add to a finding."""
        finding = self.findings.setdefault(what, Finding(what))
        finding.count += count
        if len(finding.examples) < EXAMPLES:
            finding.examples.append(example)

    def leave(self, counts: Counts, what: str, example: str) -> None:
        """A record is not for the target."""
        counts.left_out += 1
        self.note(what, example)

    def fail(self, counts: Counts, what: str, example: str) -> None:
        """A record cannot be stored."""
        counts.failed += 1
        if self.names:
            logger.error("%s: %s", what, example)
        self.note(what, example)

    def differ(self, counts: Counts, what: str, example: str) -> None:
        """A record is different in the target, and it is unknown which is the later one."""
        counts.differing += 1
        self.note(f"{what} that are different in the target (not changed)", example)

    def is_newer(self, what: str, example: str) -> None:
        """A record was changed in the target since. This is no problem."""
        self.note(f"{what} that were changed in the target since (not changed)", example)

    def kinds(self) -> dict[str, Counts]:
        """The counts by the name of their kind, for people."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name.replace("_", " "): one for name, one in found.items() if isinstance(one, Counts)}

    @property
    def problems(self) -> int:
        """The number of records that are not in the target as they are in the source."""
        return sum(one.problems for one in self.kinds().values())


class Transfer(Protocol):
    """Runs a transfer.

    Args:
        apply: copy, instead of counting what would be copied.
        names: log each record that cannot be stored.
    """

    async def __call__(self, *, apply: bool, names: bool) -> TransferReport: ...


async def compared(run: Transfer, *, apply: bool) -> TransferReport:
    """The report of the transfer. If it was applied, a dry run adds what it still finds to do."""
    report = await run(apply=apply, names=True)
    if apply:
        again = (await run(apply=False, names=False)).kinds()
        for name, counts in report.kinds().items():
            counts.missing = again[name].stored + again[name].replaced
            counts.differing = again[name].differing
    return report
