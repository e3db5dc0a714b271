"""Shared by all pages: the shell, failures, forms, the reader's zone and language, formats, periods and charts."""
