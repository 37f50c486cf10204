"""One way of not running the whole canvas at each step a file; the file name is its name."""
