"""Data of the TidalTransformer: BPE tokens before, one block spelled in characters behind."""
