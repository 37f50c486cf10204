"""The faults that the diagnosis plants into itself (``unmask list faults``), each with its repair.

Planted there, some change one path alone, which is all that their check needs. Here they change every path that they
change in a real system: what is wrong with the answers is also written, what is wrong with a cache is also written, and
what was wrong in training already was so when the record was made.
"""

from __future__ import annotations

from typing import Any, Literal

from unmask.diagnosis.check import checks
from unmask.diagnosis.fault import faults as planted_faults
from unmask.diagnosis.record import Record, record_of
from unmask.diagnosis.subject import Subject, Wrapped
from zoo.contract import Needs, ZooFault
from zoo.own.loop import CausalLoop, Loop, system_of

Path = Literal["as it is", "answers", "cache", "training"]

#: repair, and which paths it has to be carried to
REPAIR: dict[str, tuple[str, Path]] = {
    "batch_mixing": ("network.mode", "answers"),
    "changed_on_loading": ("weights.loaded", "as it is"),
    "changed_on_loading:what=whitening": ("condition.scale", "as it is"),
    "colder_than_said": ("sampler.temperature", "as it is"),
    "collapsed": ("sampler.noise", "as it is"),
    "compounding_ratio": ("network.cache", "cache"),
    "constant_latent": ("condition.unused", "training"),
    "doubled_bound": ("report", "as it is"),
    "dropout_on": ("network.mode", "answers"),
    "evicted_recent": ("network.cache", "cache"),
    "evicted_sink": ("network.cache", "cache"),
    "front_loaded": ("sampler.schedule", "as it is"),
    "fp32_gumbel": ("sampler.noise", "as it is"),
    "ignored_latent": ("condition.unused", "training"),
    "ignored_seed": ("sampler.noise", "as it is"),
    "ignored_setting": ("sampler.order", "as it is"),
    "kept_removed": ("network.cache", "cache"),
    "known_rows": ("training.data", "answers"),
    "late_loss": ("training.ratios", "answers"),
    "leaked_split": ("data.split", "as it is"),
    "length_positions": ("network.positions", "answers"),
    "lost_in_own_text": ("training.inputs", "training"),
    "low_mask_training": ("training.ratios", "training"),
    "mask_drawn": ("sampler.law", "answers"),
    "missing_weights": ("weights.loaded", "as it is"),
    "mixed_probabilities": ("sampler.guidance", "as it is"),
    "no_positions": ("network.positions", "training"),
    "not_saved": ("weights.loaded", "as it is"),
    "off_by_one": ("training.targets", "training"),
    "one_step": ("sampler.schedule", "as it is"),
    "one_token_blocks": ("tokenizer", "as it is"),
    "other_mask_id": ("training.inputs", "as it is"),
    "padding_attended": ("network.attention", "training"),
    "padding_in_divisor": ("report", "as it is"),
    "reciting": ("training.data", "as it is"),
    "reused_cache": ("network.cache", "cache"),
    "reversed_clock": ("network.time", "as it is"),
    "rewritten_places": ("sampler.places", "as it is"),
    "hardest_left_out": ("report", "as it is"),
    "rows_averaged": ("report", "as it is"),
    "secret_left_to_right": ("sampler.order", "as it is"),
    "sees_itself": ("network.attention", "answers"),
    "shared_noise": ("sampler.noise", "as it is"),
    "shifted_logits": ("network.positions", "answers"),
    "shifted_rows": ("condition.rows", "as it is"),
    "shrunken_positions": ("network.cache", "cache"),
    "shuffled_words": ("training.data", "as it is"),
    "skipped_places": ("sampler.places", "as it is"),
    "stale_logits": ("sampler.law", "as it is"),
    "stale_mask": ("network.cache", "cache"),
    "stale_weights": ("weights.loaded", "as it is"),
    "strong_guidance": ("sampler.guidance", "as it is"),
    "stuck_positions": ("network.cache", "cache"),
    "temperature_twice": ("sampler.temperature", "as it is"),
    "too_cold": ("sampler.temperature", "as it is"),
    "untouched_copy": ("network.cache", "cache"),
    "untrained_null": ("sampler.guidance", "training"),
    "untrained_padding": ("training.targets", "training"),
    "untrained_place": ("training.ratios", "training"),
    "visible_scored": ("report", "as it is"),
    "word_counts": ("training.capacity", "training"),
    "wrong_sign": ("network.cache", "cache"),
    "wrong_tokenizer": ("tokenizer", "as it is"),
}


class RecordedNow(Wrapped):
    """A fault that training had: its record is of the faulty model."""

    found: Record | None = None

    def record(self) -> Record:
        """What the model scores, fault included."""
        if self.found is None:
            self.found = record_of(self.inner, "training")
        return self.found


def plant(spec: str, path: Path, subject: Subject) -> Subject:
    """The subject with a planted fault, on every path that the fault has in a real system."""
    planted = planted_faults.make(spec).inject(subject)
    if path == "answers":
        return Loop(planted) if subject.kind == "masked" else CausalLoop(planted)
    if path == "cache":
        return CausalLoop(planted, cached=True)
    return RecordedNow(planted) if path == "training" else planted


def faults() -> list[ZooFault]:
    """One for each example of each planted fault."""
    found = []
    for name in planted_faults:
        leaf = planted_faults.get(name)
        needs: set[Needs] = {"latent"} if leaf.conditional else set()
        if len(leaf.kinds) == 1:
            needs.add(leaf.kinds[0])
        for example in leaf.examples():
            spec = planted_faults.spec_of(example)
            repair, path = REPAIR.get(spec) or REPAIR.get(name) or (checks.get(leaf.caught_by).repair, "as it is")

            def planted(subject: Subject, strength: float, spec: Any = spec, path: Any = path) -> Subject:
                system_of(subject)
                return plant(spec, path, subject)

            found.append(ZooFault(f"known:{spec}", "known", repair, planted, frozenset(needs)))
    return found
