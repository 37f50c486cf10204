"""Denoisers whose exact answers are known: a Markov chain, a hidden Markov chain, a joint with a semantic vector."""
