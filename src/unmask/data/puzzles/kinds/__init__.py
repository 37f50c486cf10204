"""The kinds of puzzles, one a file; a file's name is its name on the command line."""
