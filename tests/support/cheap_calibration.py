"""Few questions to find the threshold of a training. A server embeds three hundred and looks up a third of them: half
of the time of a small training. `tests/contracts/test_training.py` trains with as many as a server."""

from threadkeeper.knowledge import threshold

EACH = 10
"""One of so many of the questions of a server is embedded; a third of these are looked up."""


def calibrate_cheaply() -> None:
    """From now on, trainings of this process know a tenth of the questions."""
    threshold._EMBEDDED_EACH = EACH
