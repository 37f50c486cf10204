"""What a causal model wrote behind a prompt is compared with the same columns of the data, nearer to their end."""

from dataclasses import replace
from typing import Any

from diagnosis_subjects import make_causal
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.subject import Batch, Generated


def test_a_model_that_writes_the_data_writes_no_safe_words() -> None:
    subject = make_causal()
    writes = subject.generate

    def the_data_itself(batch: Batch, seed: int, **settings: Any) -> Generated:
        return replace(writes(batch, seed, **settings), ids_BL=batch.ids_BL)

    subject.generate = the_data_itself  # type: ignore[method-assign]
    try:
        (finding,) = diagnose(subject, only=["safe_words"]).findings
    finally:
        del subject.generate  # type: ignore[attr-defined]
    assert finding.status == "pass"
    for name in ("common", "nats", "repeat"):
        assert finding.numbers[f"{name}_samples"] == finding.numbers[f"{name}_data"], name
