"""The contracts of `tests.contracts.test_chainlit_expectations`, on DynamoDB."""

from tests.contracts.test_chainlit_expectations import *  # noqa: F403

del test_a_new_user_gets_an_id_and_a_time  # noqa: F821  the id of a user is the identifier
