"""The settings of the native denoiser, as transformers saves them."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from unmask.core.errors import UsageError


class MaskedDiffusionConfig(PretrainedConfig):
    """Settings of :class:`unmask.models.denoiser.MaskedDiffusionModel`.

    Args:
        vocab_size, mask_token_id, pad_token_id, eos_token_id: the id space, the mask included.
        max_position_embeddings: canvas length L that absolute positions allow.
        dim, layers, heads, ffn_dim: D, blocks, heads, hidden width of the feed-forward part.
        loops: how often the stack of blocks is applied (shared weights).
        input_injection: add the embedded canvas again before each further loop, so that many loops do not forget the
            question (arXiv 2202.05826).
        deep_supervision: every loop answers to the training loss, not the last one alone (arXiv 1711.08028).
        gated: SwiGLU instead of GELU.
        dropout: residual dropout.
        rope, absolute: rotary and learned absolute positions. Without ``absolute`` an all-masked canvas gives the same
            logits everywhere, so at least one latent-free check (docs/reading_a_verdict.md) depends on it.
        conditioning: ``none``, ``adaln`` (AdaLN-Zero on the latent and time) or ``cross`` (cross-attention).
        latent_dim: Z of the encoder, for conditioning other than ``none``.
        latent_tokens: with ``adaln`` prefix tokens, with ``cross`` the keys.
        bottleneck: width of the variational bottleneck, 0 for none.
        bag_of_words: width of the head that reads off the vector which tokens the text holds and biases the logits by
            it, 0 for none.
        corrector: also takes a hypothesis, a text that was written before for the vector, and that text's own vector;
            with ``adaln``.
        time_embedding: feed the masked fraction: into the modulation with ``adaln``, else added to the input.
        self_conditioning: feed the previous pass's hidden states, the same way in training and sampling.
        relations: number R of relations [R, L, L] with learned per-head weights.
        length_model: a head says how many tokens a text has, 1 to ``max_position_embeddings``; its canvas is these
            tokens alone. False (and of folders made before there was one): EOS and PAD are written like tokens.
    """

    model_type = "unmask_denoiser"

    def __init__(
        self,
        vocab_size: int = 4096,
        mask_token_id: int = 2,
        pad_token_id: int | None = 0,
        eos_token_id: int | None = 1,
        max_position_embeddings: int = 64,
        dim: int = 256,
        layers: int = 4,
        heads: int = 4,
        ffn_dim: int = 1024,
        loops: int = 1,
        input_injection: bool = False,
        deep_supervision: bool = False,
        gated: bool = False,
        dropout: float = 0.0,
        rope: bool = True,
        absolute: bool = True,
        conditioning: str = "none",
        latent_dim: int = 0,
        latent_tokens: int = 0,
        bottleneck: int = 0,
        bag_of_words: int = 0,
        corrector: bool = False,
        time_embedding: bool = False,
        self_conditioning: bool = False,
        relations: int = 0,
        length_model: bool = False,
        **kwargs: Any,
    ) -> None:
        if conditioning not in ("none", "adaln", "cross"):
            raise UsageError(f"conditioning={conditioning!r} must be 'none', 'adaln' or 'cross'")
        if conditioning != "none" and latent_dim < 1:
            raise UsageError(f"conditioning={conditioning!r} needs latent_dim, the encoder's width; got {latent_dim}")
        if conditioning == "cross" and latent_tokens < 1:
            raise UsageError("conditioning='cross' needs latent_tokens >= 1: they are what the tokens look at")
        if corrector and conditioning != "adaln":
            raise UsageError(f"corrector=True needs conditioning='adaln', not {conditioning!r}")
        for name, value in (("dim", dim), ("layers", layers), ("heads", heads), ("ffn_dim", ffn_dim), ("loops", loops)):
            if value < 1:
                raise UsageError(f"{name}={value} must be at least 1")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout={dropout} must lie in [0, 1)")
        if dim % heads or (rope and (dim // heads) % 2):
            raise UsageError(f"dim={dim} must be a multiple of heads={heads}, with an even width a head for rope")
        if bag_of_words < 0 or (bag_of_words and conditioning == "none"):
            raise UsageError(
                f"bag_of_words={bag_of_words} must be the width of a head that reads the semantic vector: 0 for none, "
                "and 0 with conditioning='none'"
            )
        if not 0 <= mask_token_id < vocab_size:
            raise UsageError(f"mask_token_id={mask_token_id} must lie in the vocabulary of {vocab_size}")
        if length_model and pad_token_id is None:
            raise UsageError("length_model=True needs a pad_token_id: it stands behind the shorter texts of a batch")
        self.vocab_size, self.mask_token_id = vocab_size, mask_token_id
        # early folders call it ``max_length``, which transformers 5.23 refuses to save (a setting of its generate)
        self.max_position_embeddings = kwargs.pop("max_length", max_position_embeddings)
        self.dim, self.layers, self.heads, self.ffn_dim = dim, layers, heads, ffn_dim
        self.loops, self.gated, self.dropout = loops, gated, dropout
        self.input_injection, self.deep_supervision = input_injection, deep_supervision
        self.rope, self.absolute = rope, absolute
        self.conditioning, self.latent_dim, self.latent_tokens = conditioning, latent_dim, latent_tokens
        self.bottleneck, self.bag_of_words, self.time_embedding = bottleneck, bag_of_words, time_embedding
        self.corrector = corrector
        self.self_conditioning, self.relations = self_conditioning, relations
        self.length_model = length_model
        super().__init__(pad_token_id=pad_token_id, eos_token_id=eos_token_id, **kwargs)
