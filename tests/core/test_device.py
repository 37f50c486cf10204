"""The name of a device: read in one place, wrong ones said in one sentence."""

import pytest
import torch

from unmask.core.device import device_of
from unmask.core.errors import UsageError


def test_devices_of_this_machine():
    assert device_of("cpu") == device_of(torch.device("cpu")) == torch.device("cpu")
    assert device_of(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "CPU", "cuda:-1", "meta"])
def test_a_name_that_is_no_device_is_one_sentence(name):
    with pytest.raises(UsageError, match="is not one: write cpu, cuda") as told:
        device_of(name)
    assert repr(name) in str(told.value) and "\n" not in str(told.value)


def test_a_device_that_is_not_here_is_said(monkeypatch):
    for count in (0, 2):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        with pytest.raises(UsageError, match=f"device='cuda:2' is not on this machine, where torch finds {count}"):
            device_of("cuda:2")
    assert device_of("cuda:1") == torch.device("cuda", 1)
