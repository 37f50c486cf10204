"""Samplers against exact laws: what a sampler writes with a denoiser whose every answer is known."""
