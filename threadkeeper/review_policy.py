"""The operator's settings for the review."""

from dataclasses import dataclass

LABELS = ("correct", "wrong", "unsafe", "unclear")
_GOOD = "correct"
REASONS = ("incorrect", "incomplete", "off-topic", "unsafe", "slow")


@dataclass(frozen=True, slots=True)
class ReviewPolicy:
    """The settings.

    Args:
        labels: the possible verdicts, in the order of the keys 1, 2, 3.
        reasons: the reasons that a verdict or a vote can have.
        asks_purpose: whether reviewers must give a purpose before they open another user's thread.
        sample_percent: the default share of answers without a thumbs-down that is added to the queue.
        lock_seconds: how long an answer from the queue is reserved for one reviewer.
        pseudonym_key: secret for pseudonyms; if set, exports replace user names.
    """

    labels: tuple[str, ...] = LABELS
    reasons: tuple[str, ...] = REASONS
    asks_purpose: bool = False
    sample_percent: float = 5.0
    lock_seconds: float = 1800.0
    pseudonym_key: bytes | None = None

    @property
    def bad_labels(self) -> list[str]:
        """All labels but the one for a correct answer."""
        return [label for label in self.labels if label != _GOOD]
