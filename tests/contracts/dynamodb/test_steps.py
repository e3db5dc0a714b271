"""The contracts of `tests.contracts.test_steps`, on DynamoDB."""

from tests.contracts.test_steps import *  # noqa: F403

del test_a_step_stays_in_its_thread  # noqa: F821  the same id in another thread is another step
