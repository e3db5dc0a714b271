"""Review of answers: lists, verdicts, the queue, copies, exports, the audit and retention."""
