"""The write queue: admission, order, how a batch is stored, the spool and its replay."""
