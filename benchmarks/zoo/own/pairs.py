"""Two faults at once: both repairs must be named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unmask.diagnosis.subject import Subject
from zoo.contract import ZooFault

#: the fault of the network or of its training first, since what wraps it wraps the faulty one
PAIRS = (
    ("other_rotary_base", "temperature_again"),
    ("tenth_of_the_steps", "front_loaded"),
    ("one_layer_drawn_anew", "bits_for_nats"),
    ("whitening_lost", "stale_logits"),
    ("width_8", "vectors_one_row_late"),
    ("half_of_held_out_in_training", "top_k_unsaid"),
    ("shuffled_words", "noise_shared_by_rows"),
    ("dropout_stays_on", "ends_early"),
    ("older_weights", "colder_causal"),
)


def pairs(faults: Sequence[ZooFault]) -> list[ZooFault]:
    """The pairs of these faults."""
    known = {fault.name: fault for fault in faults}
    found = []
    for first, second in PAIRS:
        one, two = known[first], known[second]

        def plant(subject: Subject, strength: float, one: ZooFault = one, two: ZooFault = two) -> Subject:
            return two.plant(one.plant(subject, strength), strength)

        both = replace(one, name=f"{first} + {second}", kind="pair", plant=plant, needs=one.needs | two.needs)
        found.append(replace(both, graded=False, also=(two.repair,)))
    return found
