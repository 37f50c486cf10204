"""Write, check, mend: search for a text that a verifier accepts."""
