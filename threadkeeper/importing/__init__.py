"""Brings the history of another chat along: readers of its exports, and what stores their conversations as threads.

`package` opens the file, `detection` tells its format by its content, a reader in `readers/` yields one conversation
at a time in the words of `model`, `tree` and `arranging` make a thread of it, and `importer` stores it.
"""
