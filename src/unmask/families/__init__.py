"""The kinds of models, one file or folder each: how each is recognised, loaded, trained, sampled, scored, diagnosed."""
