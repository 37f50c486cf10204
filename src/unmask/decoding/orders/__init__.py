"""One order a file; the file name is the order's name."""
