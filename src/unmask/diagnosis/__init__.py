"""Why a model with a good score writes badly: a subject, checks with derived thresholds, planted faults, a verdict."""
