"""`unmask demo` end to end, at a size that takes seconds: every part runs and every file it promises is there."""

import json

import pytest

from unmask.cli import main
from unmask.experiments import demo

FLAGS = (
    "--limit 300 --validation 0.3 --vocab_size 400 --length 40 --dim 32 --layers 1 --heads 2 --ffn_dim 64 --bf16 false "
    "--max_steps 12 --warmup_steps 2 --eval_steps 6 --save_steps 6 --per_device_train_batch_size 8 --probe_texts 2 "
    "--eval_texts 8 --report_to none --disable_tqdm true"
).split()


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_judge", lambda: None)
    monkeypatch.setattr(demo, "TEXTS", 40)
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(tmp_path / "run"), *FLAGS])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for part in ("1/4", "2/4", "3/4", "4/4", "verse ", "written ", "NELBO", "D_shuffled"):
        assert part in said, part
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["metrics"]
    assert metrics["loss_r1_nats_per_token"] > 0 and "d_shuffled_r1_nats_per_token" in metrics
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "One unmasking" in page and "true latent" in page and "<svg" in page
    assert "Verdict" in (tmp_path / "run/diagnosis.html").read_text(encoding="utf-8")
