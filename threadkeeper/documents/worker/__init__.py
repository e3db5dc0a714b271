"""The program that `reader` runs: reads the text of one document in a process of its own.

Libraries that read documents are slow or meet hostile files here, where time, memory and rights are limited.
"""
