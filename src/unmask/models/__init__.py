"""Models and adapters that meet the denoiser contract, and the frozen encoders that condition them."""
