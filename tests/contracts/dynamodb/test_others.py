"""Contracts of other modules that need nothing of SQL, on DynamoDB."""

from tests.contracts.test_concurrent_writers import (
    test_a_queued_step_deletion_without_a_thread_id_is_read,
    test_a_value_that_cannot_be_stored_is_reported,
    test_a_vote_in_a_deleted_thread_is_refused,
    test_a_write_of_a_cancelled_caller_is_read_and_its_failure_reported,
    test_two_users_writing_one_step_are_applied_in_order,
)
from tests.contracts.test_reads import (
    test_a_thread_is_read_with_the_writes_just_before,
    test_pages_contain_every_thread_while_threads_change,
)
from tests.contracts.test_write_order import test_writes_of_a_thread_stay_in_order_among_those_of_others

__all__ = [
    "test_a_queued_step_deletion_without_a_thread_id_is_read",
    "test_a_thread_is_read_with_the_writes_just_before",
    "test_a_value_that_cannot_be_stored_is_reported",
    "test_a_vote_in_a_deleted_thread_is_refused",
    "test_a_write_of_a_cancelled_caller_is_read_and_its_failure_reported",
    "test_pages_contain_every_thread_while_threads_change",
    "test_two_users_writing_one_step_are_applied_in_order",
    "test_writes_of_a_thread_stay_in_order_among_those_of_others",
]
