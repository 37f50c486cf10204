"""Text, canvases and cached latents: everything between a file and a batch."""
