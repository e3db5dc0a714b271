"""The tables, one file per family. They share a package because deleting a step writes review and usage tables."""
