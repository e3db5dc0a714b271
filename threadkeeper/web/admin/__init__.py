"""The pages at `/admin`, for admins: people, and what else an operator looks after without a shell."""
