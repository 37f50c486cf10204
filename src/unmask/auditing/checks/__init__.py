"""Questions about a sampler that an exact law answers; one file each."""
