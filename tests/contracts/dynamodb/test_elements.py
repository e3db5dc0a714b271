"""The contracts of `tests.contracts.test_elements`, on DynamoDB."""

from tests.contracts.test_elements import *  # noqa: F403

del test_elements_of_no_step_are_attached_to_one_all_or_none  # noqa: F821  `attach_elements` and `detach_elements` need SQL
