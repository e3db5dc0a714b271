"""The tables: one file a family. Deleting a step writes tables of the review and of usage, so they stand together."""
