"""The review: inbox, verdicts, queue, copies, exports, audit and retention."""
