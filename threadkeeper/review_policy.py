"""What the operator decides of the review."""

from dataclasses import dataclass

LABELS = ("correct", "wrong", "unsafe", "unclear")
_GOOD = "correct"
REASONS = ("incorrect", "incomplete", "off-topic", "unsafe", "slow")


@dataclass(frozen=True, slots=True)
class ReviewPolicy:
    """How a review goes here.

    Args:
        labels: what a verdict may say, in the order of the keys 1, 2, 3.
        reasons: what may be given as the reason of a verdict or a thumb.
        asks_purpose: whether another person's thread opens only for a purpose that is said.
        sample_percent: of the answers without a thumb down, so many come into the queue.
        lock_seconds: so long is an answer of the queue for one reviewer alone.
        pseudonym_key: with it, exports call users by names made with it.
    """

    labels: tuple[str, ...] = LABELS
    reasons: tuple[str, ...] = REASONS
    asks_purpose: bool = False
    sample_percent: float = 5.0
    lock_seconds: float = 1800.0
    pseudonym_key: bytes | None = None

    @property
    def bad_labels(self) -> list[str]:
        """All but the one that says that an answer is right."""
        return [label for label in self.labels if label != _GOOD]
