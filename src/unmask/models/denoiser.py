"""The native denoiser: with a latent it is SGDD's decoder, without one a plain masked diffusion model.

Shapes: B batch, L length, M latent tokens, N gathered rows, V vocabulary, D width, Z latent, W bag of words
(docs/notation.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import UsageError
from unmask.models.bag_of_words import BagOfWords
from unmask.models.bidirectional_cache import BidirectionalKVCache
from unmask.models.corrector import ConditionFeatures, HypothesisInput
from unmask.models.denoiser_config import MaskedDiffusionConfig
from unmask.models.initial import start_weights
from unmask.models.latent import LatentInput
from unmask.models.layers import Block, RotaryTables, beside, rotary, sinusoid, unturned
from unmask.models.length import NEVER, LengthHead
from unmask.models.network import Network

__all__ = ["MaskedDiffusionConfig", "MaskedDiffusionModel", "special_ids"]


class MaskedDiffusionModel(Network, Denoiser):
    """Bidirectional transformer over a canvas of ids, some of them the mask; the head is the embedding (tied)."""

    config_class = MaskedDiffusionConfig
    config: MaskedDiffusionConfig

    def build(self, config: MaskedDiffusionConfig) -> None:
        c = config
        # the last columns are the bag of words' table: the head is one product of both
        self.embed = nn.Embedding(c.vocab_size, c.dim + c.bag_of_words)
        self.position = nn.Parameter(torch.zeros(c.max_position_embeddings, c.dim)) if c.absolute else None
        has_latent = c.conditioning != "none"
        self.latent = LatentInput(c.latent_dim, c.bottleneck, c.dim, c.latent_tokens) if has_latent else None
        self.time = (
            nn.Sequential(nn.Linear(c.dim, c.dim), nn.SiLU(), nn.Linear(c.dim, c.dim)) if c.time_embedding else None
        )
        self.recall = nn.Linear(c.dim, c.dim, bias=False) if c.self_conditioning else None
        modulated = c.conditioning == "adaln"
        self.blocks = nn.ModuleList(
            Block(
                c.dim,
                c.heads,
                c.ffn_dim,
                modulated=modulated,
                cross=c.conditioning == "cross",
                gated=c.gated,
                dropout=c.dropout,
                relations=c.relations,
            )
            for _ in range(c.layers)
        )
        self.norm = nn.RMSNorm(c.dim, eps=1e-6)
        self.head_bias = nn.Parameter(torch.zeros(c.vocab_size))
        code = (c.bottleneck or c.latent_dim) if has_latent else 0
        # small: with a hidden layer as wide as the model it learns the training texts' lengths by heart
        hidden = max(c.dim // 4, 8)
        self.lengths = LengthHead(c.max_position_embeddings, code, hidden) if c.length_model else None
        self.register_buffer(
            "relations_RLL", torch.zeros(c.relations, c.max_position_embeddings, c.max_position_embeddings)
        )
        self.hypothesis = HypothesisInput(c.latent_dim, c.dim, c.latent_tokens) if c.corrector else None
        read = (c.bottleneck or c.latent_dim) + (c.latent_dim + 1 if c.corrector else 0)
        self.bag = BagOfWords(read, c.bag_of_words, c.dim, c.vocab_size) if c.bag_of_words else None
        self.post_init()
        if self.bag is not None:
            # no evidence at first: the model starts as the plain one
            with torch.no_grad():
                self.bag_table_VW.zero_()

    def _init_weights(self, module: nn.Module) -> None:
        start_weights(module)
        if isinstance(module, MaskedDiffusionModel):
            nn.init.zeros_(module.head_bias)
            nn.init.zeros_(module.relations_RLL)
            if module.position is not None:
                nn.init.normal_(module.position, std=0.02)
            if module.recall is not None:
                # zero: the first pass and an untrained second pass agree
                nn.init.zeros_(module.recall.weight)

    # -- what the contract asks -------------------------------------------------------------------------------------
    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        return self.config.vocab_size

    @property
    def mask_id(self) -> int:  # type: ignore[override]
        return self.config.mask_token_id

    @property
    def pad_id(self) -> int | None:  # type: ignore[override]
        return self.config.pad_token_id

    @property
    def eos_id(self) -> int | None:  # type: ignore[override]
        # one that draws the length first never writes an end
        return None if self.models_length else self.config.eos_token_id

    @property
    def models_length(self) -> bool:  # type: ignore[override]
        return self.lengths is not None

    @property
    def max_length(self) -> int | None:  # type: ignore[override]
        return self.config.max_position_embeddings if self.config.absolute else None

    @property
    def conditional(self) -> bool:  # type: ignore[override]
        return self.latent is not None

    @property
    def wants_carry(self) -> bool:  # type: ignore[override]
        return self.recall is not None

    @property
    def corrects(self) -> bool:  # type: ignore[override]
        return self.hypothesis is not None

    @property
    def can_cache(self) -> bool:
        """Whether :meth:`cached_body` works: boards are not written in blocks, and a carry is a second pass."""
        return self.recall is None and not self.config.relations and not self.corrects

    @property
    def bag_table_VW(self) -> Tensor:
        """What each token asks of the bag of words."""
        return self.embed.weight[:, self.config.dim :]

    def bag_logits(self, cond: Condition) -> Tensor:
        """Log odds [B, V], fp32, that each token stands in the text that a vector is of; the prior's without one.

        Raises:
            UsageError: a model without a bag of words.
        """
        if self.bag is None or self.latent is None:
            raise UsageError("this model has no bag of words (bag_of_words=0)")
        words_BW = self._told(cond).words_BW
        assert words_BW is not None
        return self.bag.logits(words_BW, self.bag_table_VW)

    def set_relations(self, relations_RLL: Tensor) -> None:
        """Set the fixed relations between positions, which are saved with the model."""
        wanted = tuple(self.relations_RLL.shape)  # type: ignore[union-attr,arg-type]
        if tuple(relations_RLL.shape) != wanted:
            raise UsageError(f"relations of shape {tuple(relations_RLL.shape)} do not fit the model's {wanted}")
        self.relations_RLL.copy_(relations_RLL)  # type: ignore[operator]

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
        relations_RLL: Tensor | None = None,
    ) -> Body:
        """See :meth:`unmask.core.denoiser.Denoiser.body`. ``relations_RLL`` [R, L, L] or [B, R, L, L] replaces the
        fixed ones.

        Raises:
            UsageError: a canvas or a hypothesis longer than ``max_position_embeddings``, a latent of another width,
                or a hypothesis for a model that is no corrector.
        """
        self._fits(x_BL)
        told, earlier = self._conditions(x_BL, cond, t_B, valid_BL), self._earlier()
        h_BLD = self._states(x_BL, told, valid_BL, carry=carry, relations_RLL=relations_RLL, earlier=earlier)
        # under autocast the norm answers in fp32; the head and the carry want the working precision
        carry = h_BLD.detach() if self.recall is not None else None
        return self._answer(h_BLD, told, earlier, carry)

    def body_at(
        self,
        x_BL: Tensor,
        at_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        """See :meth:`unmask.core.denoiser.Denoiser.body_at`: the last layer's matrices run on these positions alone."""
        if self.recall is not None or self.config.conditioning == "cross":
            return self.body(x_BL, cond, t_B, valid_BL=valid_BL, carry=carry)
        self._fits(x_BL)
        told = self._conditions(x_BL, cond, t_B, valid_BL)
        earlier, at = self._earlier(), at_BL.nonzero(as_tuple=True)
        h_BLD = self._states(x_BL, told, valid_BL, at=at, earlier=earlier)  # type: ignore[arg-type]
        return self._answer(h_BLD, told, earlier)

    def _answer(self, h_BLD: Tensor, told: ConditionFeatures, earlier: list[Tensor] | None, carry: Any = None) -> Body:
        """The head's states of the last loop and of those before it."""
        states = [self._beside(x, told.words_BW) for x in (h_BLD, *(earlier or ()))]
        return Body(states[0], carry=carry, kl_BZ=told.kl_BZ, earlier_BLD=tuple(states[1:]))

    def _beside(self, h_BLD: Tensor, words_BW: Tensor | None) -> Tensor:
        return h_BLD if self.bag is None or words_BW is None else self.bag.beside(h_BLD, words_BW)

    def _earlier(self) -> list[Tensor] | None:
        return [] if self.config.deep_supervision and self.training else None

    def cached_body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        at_BL: Tensor | None = None,
        memory: BidirectionalKVCache | None = None,
    ) -> tuple[Tensor, BidirectionalKVCache]:
        """Hidden states of all positions, those outside ``at_BL`` as ``memory`` has them; all are run when it is None.

        Latent tokens are remembered too, as is the time at which a position was run.

        Raises:
            UsageError: a model that :attr:`can_cache` says no to, or ``at_BL`` without a memory.
        """
        if not self.can_cache:
            raise UsageError(
                "a model with self-conditioning or relations, or a corrector, remembers no keys: leave cache out"
            )
        self._fits(x_BL)
        memory = BidirectionalKVCache.start(memory, at_BL)
        told = self._conditions(x_BL, cond, t_B, valid_BL)
        states = self._states(x_BL, told, valid_BL, memory)
        return memory.finish(self._beside(states, told.words_BW)), memory

    def _fits(self, x_BL: Tensor, what: str = "canvas") -> None:
        c, L = self.config, x_BL.shape[1]
        if c.absolute and L > c.max_position_embeddings:
            raise UsageError(f"a {what} of {L} tokens is longer than the model's {c.max_position_embeddings} positions")

    def _states(
        self,
        x_BL: Tensor,
        told: ConditionFeatures,
        valid_BL: Tensor | None,
        memory: BidirectionalKVCache | None = None,
        carry: Any = None,
        relations_RLL: Tensor | None = None,
        at: RotaryTables | None = None,
        earlier: list[Tensor] | None = None,
    ) -> Tensor:
        """The normed states of the positions being run: all, or those that the memory names; zero outside ``at``.

        ``earlier`` gets those after each loop but the last.
        """
        c, L = self.config, x_BL.shape[1]
        steer, tokens = told.steer_BD, told.tokens_BMD
        index_BC = None if memory is None else memory.index_BC
        turn = rotary(L, c.dim // c.heads, x_BL.device) if c.rope else None
        x = self.embed(x_BL if index_BC is None else x_BL.gather(1, index_BC))[..., : c.dim]
        if self.position is not None:
            x = x + (self.position[:L] if index_BC is None else self.position[index_BC])
        if self.recall is not None and carry is not None:
            x = x + self.recall(carry)
        if self.time is not None and c.conditioning != "adaln" and steer is not None:
            x = x + steer[:, None]
        prefix = tokens.shape[1] if tokens is not None and c.conditioning == "adaln" else 0
        if index_BC is not None:
            turn = None if turn is None else (turn[0][index_BC][:, None], turn[1][index_BC][:, None])
        elif prefix and tokens is not None:
            x = torch.cat([tokens.to(x.dtype), x], dim=1)
            if turn is not None:
                # latent tokens have no place in the text: they are not turned, so text positions keep their own
                turn = beside(unturned(prefix, turn), turn)
        keys = None if valid_BL is None else torch.nn.functional.pad(valid_BL, (prefix, 0), value=True)
        if told.hypothesis_BL is not None and told.known_BL is not None:
            assert self.hypothesis is not None
            length, mine = x.shape[1], self.embed(told.hypothesis_BL)[..., : c.dim]
            if self.position is not None:
                mine = mine + self.position[: mine.shape[1]]
            x, turn, keys = self.hypothesis.before(mine, x, turn, keys, told)
            prefix += x.shape[1] - length
        if memory is not None:
            memory.prefix = prefix
        mask = None
        if keys is not None:
            mask = torch.zeros(keys.shape, device=x.device).masked_fill(~keys, float("-inf"))[:, None, None]
        relations = None
        if c.relations:
            relations = (self.relations_RLL if relations_RLL is None else relations_RLL)[..., :L, :L]  # type: ignore[index]
            relations = torch.nn.functional.pad(relations, (prefix, 0, prefix, 0))
        seen = tokens if c.conditioning == "cross" else None
        last = None if at is None else (at[0], at[1] + prefix)
        start = x
        for layer in range(c.loops * c.layers):
            if layer and layer % c.layers == 0:
                if earlier is not None:
                    earlier.append(self.norm(x[:, prefix:]))
                if c.input_injection:
                    x = x + start
            cut = last if layer == c.loops * c.layers - 1 else None
            block = self.blocks[layer % c.layers]
            if self.gradient_checkpointing and torch.is_grad_enabled():
                # keep what goes into each layer; the backward pass runs the layer once more
                again = self._gradient_checkpointing_func
                x = again(block.__call__, x, turn, mask, steer, seen, relations, memory, layer, cut)
            else:
                x = block(x, turn, mask, steer, seen, relations, memory, layer, cut)
        if at is not None:
            rows_ND = self.norm(x)
            return rows_ND.new_zeros(*x_BL.shape, c.dim).index_put(at, rows_ND)  # type: ignore[no-any-return]
        return self.norm(x if index_BC is not None else x[:, prefix:])  # type: ignore[no-any-return]

    def _told(self, cond: Condition) -> ConditionFeatures:
        """What a condition says, without the time."""
        assert self.latent is not None
        z, kl = self.latent.code(cond)
        steer, tokens = self.latent(z, cond.present_B)
        told = ConditionFeatures(steer, tokens, kl)
        if self.hypothesis is None:
            if cond.hypothesis_BL is not None:
                raise UsageError("this model is no corrector: it takes no hypothesis")
        elif cond.hypothesis_BL is None or cond.hypothesis_latent_BZ is None:
            z = torch.nn.functional.pad(z, (0, self.config.latent_dim + 1))
        else:
            self._fits(cond.hypothesis_BL, "hypothesis")
            known_BL = (cond.hypothesis_BL != self.config.pad_token_id) & cond.present_B[:, None]
            told_B = known_BL.any(1)
            gap_BZ = self.latent.whiten.difference(cond.latent_BZ, cond.hypothesis_latent_BZ)
            features = HypothesisInput.features(gap_BZ.to(z.dtype), told_B)
            more, gap = self.hypothesis(features, told_B)
            told = ConditionFeatures(steer + more, tokens, kl, None, gap, told_B, cond.hypothesis_BL, known_BL)
            z = torch.cat([z, features], dim=1)
        return told if self.bag is None else replace(told, words_BW=self.bag(z, cond.present_B))

    def _conditions(
        self, x_BL: Tensor, cond: Condition | None, t_B: Tensor | None, valid_BL: Tensor | None
    ) -> ConditionFeatures:
        c, told = self.config, ConditionFeatures()
        if self.latent is not None:
            told = self._told(Condition.null(len(x_BL), c.latent_dim, x_BL.device) if cond is None else cond)
        steer = told.steer_BD
        if self.time is not None:
            if t_B is None:
                hidden_BL = x_BL == c.mask_token_id
                t_B = hidden_BL.float().mean(1) if valid_BL is None else (hidden_BL & valid_BL).sum(1) / valid_BL.sum(1)
            clock = self.time(sinusoid(t_B, c.dim).to(self.time[0].weight.dtype))
            steer = clock if steer is None or c.conditioning != "adaln" else steer + clock
        return replace(told, steer_BD=steer)

    @torch.no_grad()
    def posterior(self, latents_NZ: Tensor) -> tuple[Tensor, Tensor] | None:
        if self.latent is None or self.latent.bottleneck is None:
            return None
        return self.latent.bottleneck.posterior(self.latent.whiten(latents_NZ))

    def length_log_probs(self, cond: Condition | None, rows: int) -> Tensor | None:
        if self.lengths is None:
            return None
        if self.latent is None or cond is None:
            return self.lengths(rows)  # type: ignore[no-any-return]
        return self.lengths(rows, self.latent.code(cond)[0], cond.present_B)  # type: ignore[no-any-return]

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        bias_V = self.head_bias
        if self.models_length:
            # what only lays texts out is never written, so all probability goes to what is
            layout = [i for i in (self.config.eos_token_id, self.config.pad_token_id) if i is not None]
            bias_V = bias_V.index_fill(0, torch.tensor(layout, device=bias_V.device), NEVER)
        return h_ND, self.embed.weight, bias_V

    def forward(
        self,
        input_ids: Tensor | None = None,
        latent: Tensor | None = None,
        at: Tensor | None = None,
        run: Callable[[MaskedDiffusionModel], Any] | None = None,
    ) -> Any:
        """Hugging Face's entry point: ``{"logits": [N, V]}`` at ``at`` [B, L], or at the masked positions.

        ``run`` computes something else of the model *inside* this call: a wrapper (DDP, FSDP) that must see every use
        of the weights sees the training loss, which is defined elsewhere.
        """
        if run is not None:
            return run(self)
        if input_ids is None:
            raise UsageError("the model needs input_ids [B, L]")
        cond = None if latent is None else Condition.of(latent)
        return {"logits": self.logits(input_ids, at, cond)}


def special_ids(net: MaskedDiffusionModel) -> list[int]:
    """The ids of the special tokens that there are: mask, padding and end of text."""
    c = net.config
    return sorted({i for i in (c.mask_token_id, c.pad_token_id, c.eos_token_id) if i is not None})
