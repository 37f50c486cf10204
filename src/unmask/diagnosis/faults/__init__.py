"""The faults that are planted on purpose, one a file, so that every check is known to catch what it claims to."""
