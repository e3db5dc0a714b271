"""Load documents from the files of data sources: one module for each format, with the same contract (`base`)."""
