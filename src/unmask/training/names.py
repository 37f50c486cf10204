"""Names that people know a setting by, and the errors for names that are none."""

from __future__ import annotations

from collections.abc import Collection

from unmask.core.errors import UsageError, did_you_mean
from unmask.training.settings import REFUSED, unsupported

#: setting -> what it is called elsewhere
_CALLED = {
    "learning_rate": "lr max_lr peak_lr base_lr learningrate step_size",
    "muon_lr": "lr_muon muon_learning_rate",
    "num_train_epochs": "epoch epochs num_epochs n_epochs nepochs max_epochs train_epochs number_of_epochs e",
    "max_steps": "steps step num_steps n_steps total_steps train_steps num_train_steps training_steps max_train_steps "
    "iterations iters max_iters num_iterations n",
    "minutes": "time_budget time_limit max_time max_minutes train_minutes",
    "per_device_train_batch_size": "batch_size batchsize bs batch train_batch_size micro_batch_size mini_batch_size "
    "device_batch_size global_batch_size b",
    "max_tokens": "batch_tokens tokens_per_batch max_batch_tokens tokens_per_gpu tokens_per_step batch_size_tokens",
    "per_device_eval_batch_size": "eval_batch_size val_batch_size test_batch_size",
    "gradient_accumulation_steps": "grad_accum grad_accumulation gradient_accumulation accumulate_grad_batches "
    "grad_acc_steps grad_accum_steps accumulation_steps accum accum_steps gas ga",
    "weight_decay": "wd decay l2",
    "warmup_steps": "warmup warm_up warmup_iters num_warmup_steps lr_warmup_steps warmup_updates warmup_epochs "
    "warmup_proportion warmup_share warmup_fraction",
    "lr_scheduler_type": "scheduler lr_scheduler lr_schedule lr_decay_style scheduler_type lr_decay",
    "lr_scheduler_kwargs": "scheduler_kwargs lr_scheduler_args min_lr min_lr_rate",
    "max_grad_norm": "clip grad_clip clip_grad clip_grad_norm gradient_clip gradient_clipping "
    "gradient_clip_val clip_norm",
    "adam_beta1": "beta1 b1 betas adam_betas",
    "adam_beta2": "beta2 b2",
    "adam_epsilon": "eps epsilon adam_eps",
    "optimizer": "optimiser opt",
    "label_smoothing_factor": "label_smoothing smoothing",
    "neftune_noise_alpha": "neftune neftune_alpha",
    "output_dir": "out output outdir out_dir output_path save_dir run_dir save_path o",
    "data": "dataset dataset_name dataset_path train_file train_data data_path data_dir corpus text texts d",
    "column": "text_column text_field dataset_text_field text_column_name",
    "limit": "max_samples max_train_samples n_samples num_samples subset",
    "validation": "val val_split validation_split val_size test_size validation_size eval_split",
    "split_seed": "data_split_seed",
    "length": "max_length seq_len seq_length sequence_length max_seq_len max_seq_length block_size context_length "
    "context_size max_len canvas",
    "dim": "hidden_size hidden_dim d_model n_embd embed_dim embedding_dim model_dim width",
    "layers": "num_layers n_layers n_layer depth num_hidden_layers blocks_count",
    "heads": "num_heads n_heads n_head num_attention_heads nhead",
    "ffn_dim": "intermediate_size ffn d_ff mlp_dim ffn_hidden_size dim_feedforward",
    "vocab_size": "vocab n_vocab",
    "tokenizer": "tokenizer_name tokenizer_name_or_path",
    "start_from": "model model_name model_name_or_path pretrained init_from base_model model_path",
    "ema": "ema_decay use_ema ema_rate",
    "eval_steps": "eval_every eval_interval eval_freq val_every val_interval evaluation_steps val_check_interval",
    "save_steps": "save_every save_interval save_freq checkpoint_every checkpoint_interval ckpt_every "
    "checkpointing_steps",
    "logging_steps": "log_every log_interval logging_interval log_steps log_freq log_every_n_steps print_every",
    "save_total_limit": "keep_checkpoints save_top_k max_checkpoints checkpoints_total_limit",
    "metric_for_best_model": "best_metric monitor metric best_model_metric",
    "dataloader_num_workers": "workers num_workers n_workers",
    "report_to": "logger loggers wandb tensorboard use_wandb log_with tracker",
    "run_name": "name experiment_name exp_name wandb_run_name",
    "seed": "random_seed rng_seed random_state manual_seed",
    "resume_from_checkpoint": "resume_from checkpoint ckpt from_checkpoint resume_path ckpt_path load_checkpoint",
    "gradient_checkpointing": "grad_checkpointing grad_checkpoint use_checkpoint",
    "compile_blocks": "regional_compilation compile_regions use_regional_compilation",
    "torch_compile": "compile use_compile",
    "use_cpu": "cpu device no_gpu",
    "disable_tqdm": "no_progress_bar quiet",
    "precision": "mixed_precision amp dtype torch_dtype",
    "bf16": "mixed_precision amp dtype torch_dtype use_bf16 bfloat16",
    "fsdp": "sharding",
    "family": "model_type architecture",
    "dropout": "drop_rate attention_dropout hidden_dropout_prob resid_pdrop",
}

#: what a word may mean, the likeliest first
_MEANT: dict[str, list[str]] = {}
for _name, _aliases in _CALLED.items():
    for _alias in _aliases.split():
        _MEANT.setdefault(_alias, []).append(_name)


def meant_by(word: str, known: Collection[str]) -> str | None:
    """The setting that a word is usual for; None where none is.

    Args:
        word: as it was written.
        known: the settings there are.
    """
    plain = word.lower().replace("-", "_")
    same = [name for name in known if name.lower() == plain]
    return next((name for name in (*same, *_MEANT.get(plain, ())) if name in known), None)


def no_setting(name: str, known: Collection[str]) -> UsageError:
    """The error for a name that is no setting, with the one that is meant.

    Args:
        name: as it was written, without dashes before it.
        known: the settings there are.
    """
    gone = unsupported(name)
    if gone is not None:
        return gone
    meant = meant_by(name, known)
    if meant in REFUSED:
        hint = f"{meant} cannot be honoured here: {REFUSED[str(meant)]}"
    else:
        hint = f"did you mean {meant!r}?" if meant else did_you_mean(name, known)
    if hint.startswith("known"):  # all of Trainer's settings among them: too many for a sentence
        hint = (
            f"they are ModelArguments', DataArguments' and TrainArguments' fields, such as {', '.join(list(known)[:6])}"
        )
    return UsageError(f"no setting is called {name[:60]!r}: {hint}")
