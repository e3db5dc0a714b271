"""The contracts of `tests.contracts.test_elements`, on DynamoDB."""

from tests.contracts.test_elements import *  # noqa: F403
