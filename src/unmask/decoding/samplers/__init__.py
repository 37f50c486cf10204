"""One sampler a file; the file name is the sampler's name."""
