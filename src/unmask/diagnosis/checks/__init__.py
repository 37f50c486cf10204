"""The checks, one a file; the file's name is the check's name on the command line."""
