"""KV-cache compression, measured honestly: kvpress' presses, controls, true positions, scoring, timing."""
