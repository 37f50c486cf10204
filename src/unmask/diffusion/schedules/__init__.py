"""One schedule a file; the file name is the schedule's name."""
