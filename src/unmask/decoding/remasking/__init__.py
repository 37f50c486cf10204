"""One way of hiding written tokens again a file; the file name is its name."""
