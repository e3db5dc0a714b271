"""The contracts of `tests.contracts.test_votes`, on DynamoDB. Those of the history of votes read its table."""

from tests.contracts.test_votes import *  # noqa: F403

del test_votes_in_one_thread_at_once_are_all_noted_in_it  # noqa: F821  of locks of Postgres
# `test_layout` tests the history.
del test_a_changed_vote_keeps_its_history  # noqa: F821
del test_the_history_of_a_vote_is_kept_when_its_step_is_deleted  # noqa: F821
del test_the_history_of_an_adopted_vote_is_kept_when_its_step_is_deleted  # noqa: F821
del test_a_withdrawn_vote_stays_withdrawn_when_its_step_is_deleted  # noqa: F821
