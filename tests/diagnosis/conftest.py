"""Small healthy models trained on real verses, once a session, for checks and planted faults."""

from __future__ import annotations

import pytest

from diagnosis_subjects import make_subject
from unmask.diagnosis.native import NativeSubject


@pytest.fixture(scope="session")
def sgdd() -> NativeSubject:
    """Conditional on a bag-of-words vector, with time and AdaLN."""
    return make_subject(conditional=True)
