"""The records of the library, as dataclasses: one file per family. They import nothing of the other packages."""
