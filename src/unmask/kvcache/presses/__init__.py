"""Control presses, one a file: kvpress ``ScorerPress`` subclasses that kvpress lacks. The file's name is the key."""
