"""Laws that values may be drawn from by mistake, one a file; the file's name is the law's."""
