"""Where a system can be put right: every cause in a verdict names one of these places."""

from __future__ import annotations

REPAIRS: dict[str, str] = {
    "sampler.temperature": "the draw's temperature is not the one that is said, or not a sensible one",
    "sampler.law": "what is drawn from is not what the network says (stale or foreign logits, top-k or penalty unsaid)",
    "sampler.noise": "the noise of the draw is wrong (precision, shared between rows, independent of the seed)",
    "sampler.guidance": "guidance is wrong in formula, sign or strength",
    "sampler.schedule": "too few steps, or tokens badly divided among them",
    "sampler.order": "the order of positions is not the one that is said, or harms",
    "sampler.places": "places are written twice, left masked, or a prompt is touched",
    "sampler.length": "texts end too early, too late or not at all",
    "condition.rows": "vectors belong to other texts",
    "condition.scale": "vectors are shifted, scaled or not whitened as in training",
    "condition.unused": "the model does not use what the vector tells",
    "weights.loaded": "weights are missing, damaged, rounded, swapped or of another moment",
    "network.positions": "positions reach the network wrongly (offset, base, order)",
    "network.attention": "attention sees what it must not, or misses what it must (padding, neighbours, the future)",
    "network.time": "the time or mask ratio reaches the network wrongly",
    "network.mode": "dropout or batch statistics are on, or answers depend on the batch",
    "network.cache": "a cache answers for another past",
    "training.inputs": "training's inputs are not inference's (it sees its answer, another mask id, clean text)",
    "training.targets": "training asks for the wrong targets (shifted, visible, padding)",
    "training.ratios": "some mask ratios, places or lengths were hardly trained",
    "training.steps": "too little trained",
    "training.capacity": "too small a network",
    "training.data": "too little data, or data that is damaged (shuffled, repeated, of another kind)",
    "data.split": "held-out texts stand in training, so the score is of memory",
    "tokenizer": "ids are not those of training's tokenizer (merges, case, normalisation, order of ids)",
    "report": "the number that is watched is computed wrongly (weights, divisor, unit, rows)",
}
