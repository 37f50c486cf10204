"""The contracts everything else meets: denoiser, condition, registry, draws, seeds, errors. Imports torch only."""
