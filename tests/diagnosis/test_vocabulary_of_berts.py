"""A BERT's rows begin with [CLS]; its tokenizer still belongs to it."""

import copy
from dataclasses import replace

from diagnosis_subjects import make_subject
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.native import NativeSubject


def test_a_start_token_is_no_foreign_word() -> None:
    healthy = make_subject(False, steps=20)
    batch = healthy.data(64)
    tokenizer = copy.deepcopy(healthy.tokenizer)
    first = 511
    tokenizer.cls_token = tokenizer.convert_ids_to_tokens(first)
    ids_BL = batch.ids_BL.roll(1, 1)
    ids_BL[:, 0] = first
    subject = NativeSubject(healthy.denoiser, replace(batch, ids_BL=ids_BL), tokenizer=tokenizer)
    (finding,) = diagnose(subject, only=["vocabulary"]).findings
    assert finding.numbers["the data's ids decode to the data's texts"] > 0.95
    subject = NativeSubject(healthy.denoiser, replace(batch, ids_BL=ids_BL.flip(1)), tokenizer=tokenizer)
    (finding,) = diagnose(subject, only=["vocabulary"]).findings
    assert finding.status == "fail"
