"""The command line: one module a verb, one border where errors become lines."""
