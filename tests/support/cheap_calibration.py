"""Few lookups to find the threshold of a training. A server looks up a hundred questions, half of the time of a small
training. `tests/contracts/test_training.py` looks up as many as a server."""

from threadkeeper.knowledge import threshold

EACH_OF_A_SERVER: int = threshold._EACH
_EACH = 10 * EACH_OF_A_SERVER


def calibrate_cheaply() -> None:
    """From now on, trainings of this process look up a tenth of the questions."""
    threshold._EACH = _EACH
