"""One quota a file; the file name is the quota's name."""
