"""What the operator decides of the review, as it is set."""

from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.settings.settings import Settings, plain


def review_policy(settings: Settings) -> ReviewPolicy:
    return ReviewPolicy(
        labels=settings.review_labels,
        reasons=settings.review_reasons,
        asks_purpose=settings.review_ask_purpose,
        sample_percent=settings.review_sample_percent,
        lock_seconds=settings.review_lock_minutes * 60,
        pseudonym_key=(plain(settings.review_pseudonym_key) or "").encode() or None,
    )
