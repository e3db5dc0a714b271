"""The contracts of `tests.contracts.test_threads`, on DynamoDB."""

from tests.contracts.test_threads import *  # noqa: F403

del test_deleting_a_thread_leaves_nothing  # noqa: F821  it counts rows of tables; `test_deletion` counts items
