"""How public samplers are called; one file each."""
