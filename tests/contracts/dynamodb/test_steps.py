"""The contracts of `tests.contracts.test_steps`, on DynamoDB."""

from tests.contracts.test_steps import *  # noqa: F403

del test_the_pages_of_a_thread_are_read_in_order_and_alone  # noqa: F821  it has only the whole thread
del test_a_step_stays_in_its_thread  # noqa: F821  the same id in another thread is another step
