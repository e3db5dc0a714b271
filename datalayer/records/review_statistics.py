"""Frozen records of the statistics of the review."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Satisfaction:
    """Votes on the answers from `start` to before `end`. `value` is the assistant or model, if they are split."""

    start: str
    end: str
    value: str | None
    answers: int
    up: int
    down: int

    @property
    def share(self) -> float | None:
        """The share of votes that are up, from 0 to 1; None without votes."""
        return self.up / (self.up + self.down) if self.up + self.down else None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many answers, and how many with a thumb down, have a verdict; and the verdicts per label.

    `value` is the assistant or model, if they are grouped.
    """

    value: str | None
    answers: int
    reviewed: int
    down: int
    down_reviewed: int
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """The agreement of two reviewers on the answers that both judged."""

    first: str
    second: str
    answers: int
    agreed: int
    kappa: float | None
    """Cohen's kappa; None if both would always agree by chance."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Inter-rater agreement over the answers with verdicts of more than one reviewer."""

    answers: int
    verdicts: int
    agreed: float | None
    """The share of pairs of verdicts on the same answer that have the same label, from 0 to 1."""
    kappa: float | None
    """Fleiss' kappa, for any number of verdicts per answer; None if reviewers would always agree by chance."""
    pairs: tuple[PairAgreement, ...]


@dataclass(frozen=True, slots=True)
class WordCount:
    """The numbers of bad and of other answers that contain a word.

    `down` of the bad answers have a thumb down, the rest only a bad verdict.
    """

    word: str
    bad: int
    others: int
    down: int
