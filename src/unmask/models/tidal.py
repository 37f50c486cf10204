"""TidalTransformer: BPE tokens before, the next block in characters behind, last character first.

Shapes: B batch, L length, Q new positions, S cached ones, N gathered rows, V ids that can be written, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import UsageError
from unmask.models.network import Network
from unmask.models.tidal_attention import FORBIDDEN, Past, Places, TidalBlock, alibi, allowed, turns

WRITES = ("blocks", "tokens", "characters")
ATTENTION = ("tidal", "masked", "causal")
POSITIONS = ("alibi", "rope", "learned")


class TidalConfig(PretrainedConfig):
    """Settings of :class:`TidalModel`.

    Args:
        vocab_size: ids that can be read: specials, characters, BPE tokens.
        outputs: V, ids below this can be written; characters and specials come first in the id space, so a model that
            writes characters alone has a small head. ``vocab_size`` for a model that writes tokens.
        pad_token_id, eos_token_id, mask_token_id, bob_token_id, eob_token_id: the specials.
        attention: ``tidal`` (tokens see each other, a block is causal), ``masked`` (a block sees all of itself: a
            denoiser that fills it in any order) or ``causal``.
        positions: ``alibi``, ``rope`` or ``learned``, each on two axes: token places and offsets from ``<bob>``; a
            masked block learns its offsets with each of them.
        writes: ``blocks``, or as a baseline plain ``tokens`` or ``characters`` from left to right, without blocks.
        max_position_embeddings: token places of ``learned``; what training cuts samples to.
        max_block: most characters of a block.
        dim, layers, heads, ffn_dim, gated, dropout: the transformer.
    """

    model_type = "unmask_tidal"

    def __init__(
        self,
        vocab_size: int = 1024,
        outputs: int = 261,
        pad_token_id: int = 0,
        eos_token_id: int = 1,
        mask_token_id: int = 2,
        bob_token_id: int = 3,
        eob_token_id: int = 4,
        attention: str = "tidal",
        positions: str = "alibi",
        writes: str = "blocks",
        max_position_embeddings: int = 64,
        max_block: int = 24,
        dim: int = 192,
        layers: int = 4,
        heads: int = 4,
        ffn_dim: int = 768,
        gated: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if attention not in ATTENTION:
            raise UsageError(f"attention={attention!r} must be one of {', '.join(ATTENTION)}")
        if positions not in POSITIONS:
            raise UsageError(f"positions={positions!r} must be one of {', '.join(POSITIONS)}")
        if writes not in WRITES:
            raise UsageError(f"writes={writes!r} must be one of {', '.join(WRITES)}")
        if writes != "blocks" and attention != "causal":
            raise UsageError(f"writes={writes!r} needs attention='causal', got {attention!r}")
        for name, value in (("dim", dim), ("layers", layers), ("heads", heads), ("ffn_dim", ffn_dim)):
            if value < 1:
                raise UsageError(f"{name}={value} must be at least 1")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout={dropout} must lie in [0, 1)")
        if dim % heads or (positions == "rope" and (dim // heads) % 4):
            raise UsageError(
                f"dim={dim} must be a multiple of heads={heads}, with a head width divisible by 4 for rope"
            )
        if not eob_token_id < outputs <= vocab_size:
            raise UsageError(f"outputs={outputs} must lie above the specials and not above vocab_size={vocab_size}")
        self.vocab_size, self.outputs = vocab_size, outputs
        self.mask_token_id, self.bob_token_id, self.eob_token_id = mask_token_id, bob_token_id, eob_token_id
        self.attention, self.positions, self.writes = attention, positions, writes
        # early folders call it ``max_length``, which transformers 5.23 refuses to save
        self.max_position_embeddings = kwargs.pop("max_length", max_position_embeddings)
        self.max_block = max_block
        self.dim, self.layers, self.heads, self.ffn_dim = dim, layers, heads, ffn_dim
        self.gated, self.dropout = gated, dropout
        super().__init__(pad_token_id=pad_token_id, eos_token_id=eos_token_id, **kwargs)


@dataclass
class TidalCache:
    """The key-value cache of every layer, with the places of its positions."""

    layers: list[Past]
    places: Places

    def keep(self, keep_BS: Tensor) -> TidalCache:
        """Only the marked positions, moved together; rows with fewer of them end in padding."""
        count = int(keep_BS.sum(1).max())
        order_BS = (~keep_BS).long().argsort(dim=1, stable=True)[:, :count]
        places = Places(*(x.gather(1, order_BS) for x in self.places.all()))
        places.segment = places.segment * keep_BS.gather(1, order_BS)
        index = order_BS[:, None, :, None]
        layers = [
            Past(*(x.gather(2, index.expand(-1, x.shape[1], -1, x.shape[3])) for x in (past.key, past.value)))
            for past in self.layers
        ]
        return TidalCache(layers, places)

    def rows(self, index: Tensor) -> TidalCache:
        """Some rows of the batch."""
        return TidalCache(
            [Past(past.key[index], past.value[index]) for past in self.layers],
            Places(*(x[index] for x in self.places.all())),
        )


@dataclass
class BlockState:
    """The decoding state of a batch of blocks, which :meth:`TidalModel.begin` and :meth:`TidalModel.step` return.

    Attributes:
        prefixes: each row's tokens.
        offset: characters read behind ``<bob>`` so far.
        reused: tokens of each row whose cached states were used again.
    """

    cache: TidalCache
    prefixes: list[list[int]]
    offset: int
    reused: list[int]

    def rows(self, index: Sequence[int]) -> BlockState:
        """Some rows of the batch: those that go on."""
        cache = self.cache.rows(torch.tensor(index, device=self.cache.places.token.device))
        return BlockState(cache, [self.prefixes[i] for i in index], self.offset, [self.reused[i] for i in index])


class TidalModel(Network, Denoiser):
    """Transformer over tokens and a block of characters; the head is the first V rows of the embedding (tied).

    With ``attention="masked"`` it is a :class:`Denoiser` of the block; otherwise :meth:`begin` and :meth:`step` write a
    block one character at a time.
    """

    config_class = TidalConfig
    config: TidalConfig

    def build(self, config: TidalConfig) -> None:
        c = config
        self.embed = nn.Embedding(c.vocab_size, c.dim)
        learned = c.positions == "learned"
        self.place = nn.Embedding(c.max_position_embeddings + 1, c.dim) if learned else None
        # a masked block holds one id everywhere: bias and rotation alone hardly tell its places apart, so there offsets
        # are learned whatever the positions; -1 is a token, 0 <bob>, 1 to max_block characters, max_block + 1 the end
        self.offset = nn.Embedding(c.max_block + 3, c.dim) if learned or c.attention == "masked" else None
        self.blocks = nn.ModuleList(
            TidalBlock(c.dim, c.heads, c.ffn_dim, gated=c.gated, dropout=c.dropout) for _ in range(c.layers)
        )
        self.norm = nn.RMSNorm(c.dim, eps=1e-6)
        self.head_bias = nn.Parameter(torch.zeros(c.outputs))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, TidalModel):
            nn.init.zeros_(module.head_bias)

    # -- what the contract asks -------------------------------------------------------------------------------------
    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        """Ids that a row may hold; logits have a column only for the ``outputs`` that can be written."""
        return self.config.vocab_size

    @property
    def mask_id(self) -> int:  # type: ignore[override]
        return self.config.mask_token_id

    @property
    def pad_id(self) -> int | None:  # type: ignore[override]
        return self.config.pad_token_id

    @property
    def eos_id(self) -> int | None:  # type: ignore[override]
        return self.config.eos_token_id

    @property
    def any_order(self) -> bool:
        """Whether a block is filled as masked diffusion instead of character by character."""
        return self.config.attention == "masked"

    @property
    def max_length(self) -> int | None:  # type: ignore[override]
        return self.config.max_position_embeddings if self.place is not None else None

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        """See :meth:`unmask.core.denoiser.Denoiser.body`: a row is tokens, ``<bob>``, and the block behind it."""
        return Body(self.read(x_BL, Places.of_ids(x_BL, self.config.bob_token_id, valid_BL))[0])

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        bias_V = self.head_bias
        if not self.any_order:
            # what is no character and no end cannot be written, in training as in writing; a canvas holds padding
            never = torch.tensor([self.config.pad_token_id, self.config.bob_token_id], device=bias_V.device)
            bias_V = bias_V.index_fill(0, never, float("-inf"))
        return h_ND, self.embed.weight[: self.config.outputs], bias_V

    # -- the transformer --------------------------------------------------------------------------------------------
    def read(
        self, ids_BQ: Tensor, places: Places, cache: TidalCache | None = None, shown: list[Tensor] | None = None
    ) -> tuple[Tensor, TidalCache]:
        """Hidden states [B, Q, D] of new positions that also see cached ones, and the cache with them.

        Args:
            shown: a list to which each layer adds its attention weights [B, H, Q, S + Q].

        Raises:
            UsageError: a place or an offset that ``learned`` positions do not have.
        """
        c = self.config
        x = self.embed(ids_BQ)
        if self.place is not None:
            last = c.max_position_embeddings
            if int(places.token.max()) > last:
                raise UsageError(f"learned positions end at token {last}, the input goes to {places.token.max()}")
            x = x + self.place(places.token)
        if self.offset is not None:
            if int(places.character.max()) > c.max_block + 1:
                raise UsageError(f"offsets end at {c.max_block + 1}, the input goes to {places.character.max()}")
            x = x + self.offset(places.character + 1)
        keys = places if cache is None else cache.places.cat(places)
        sees = allowed(places, keys, c.attention)[:, None]
        bias = alibi(places, keys, c.heads) if c.positions == "alibi" else torch.zeros((), device=x.device)
        bias = bias.masked_fill(~sees, FORBIDDEN) if bias.ndim else (~sees) * FORBIDDEN
        turn = turns(places, c.dim // c.heads) if c.positions == "rope" else None
        layers = []
        for i, block in enumerate(self.blocks):
            given = (x, turn, bias, None if cache is None else cache.layers[i], shown)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x, past = self._gradient_checkpointing_func(block.__call__, *given)
            else:
                x, past = block(*given)
            layers.append(past)
        return self.norm(x), TidalCache(layers, keys)

    def read_batch(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Hidden states [B, L, D] of rows as :func:`unmask.data.tidal.samples.layout` makes them."""
        return self.read(batch["input_ids"], Places(batch["segment"], batch["token"], batch["character"]))[0]

    def forward(
        self,
        input_ids: Tensor | None = None,
        segment: Tensor | None = None,
        token: Tensor | None = None,
        character: Tensor | None = None,
        run: Callable[[TidalModel], Any] | None = None,
    ) -> Any:
        """Hugging Face's entry point: ``{"logits": [B, L, V]}``; the places are derived from the ids when not given.

        ``run`` computes something else of the model inside this call (the training loss), so that a wrapper sees it.
        """
        if run is not None:
            return run(self)
        if input_ids is None:
            raise UsageError("the model needs input_ids [B, L]")
        if segment is None or token is None or character is None:
            places = Places.of_ids(input_ids, self.config.bob_token_id)
        else:
            places = Places(segment, token, character)
        h_BLD, _ = self.read(input_ids, places)
        return {"logits": self.head(h_BLD.flatten(0, 1)).view(*input_ids.shape, -1)}

    @torch.no_grad()
    def attention_weights(self, ids_BL: Tensor, places: Places | None = None) -> Tensor:
        """Attention weights [layers, B, H, L, L]; each query's sum to one."""
        shown: list[Tensor] = []
        self.read(ids_BL, places or Places.of_ids(ids_BL, self.config.bob_token_id), shown=shown)
        return torch.stack(shown)

    # -- writing a block --------------------------------------------------------------------------------------------
    @torch.no_grad()
    def begin(self, prefixes: Sequence[Sequence[int]], before: BlockState | None = None) -> tuple[Tensor, BlockState]:
        """Logits of each row's first character, and the state, after its tokens and ``<bob>`` are read.

        What ``before`` has cached is used again where it still holds. Causal tokens keep their states when the text
        grows, so everything up to the first changed token is kept. Tokens that see both ways change with every token
        that is added: theirs are kept only if the prefix is the same.

        Returns:
            logits [B, V] and the writing to hand to :meth:`step`.
        """
        c, device = self.config, self.embed.weight.device
        rows = [list(p) for p in prefixes]
        kept, cache = [0] * len(rows), None
        if before is not None:
            kept = [_common(a, b, c.attention == "causal") for a, b in zip(before.prefixes, rows, strict=True)]
            if c.writes != "blocks":
                # without <bob> the last token itself must be read for its law
                kept = [min(k, len(row) - 1) for k, row in zip(kept, rows, strict=True)]
            old = before.cache.places
            limit_B1 = torch.tensor(kept, device=device)[:, None]
            keep_BS = (old.segment > 0) & (old.character < 0) & (old.token < limit_B1)
            cache = before.cache.keep(keep_BS)
        tail = [c.bob_token_id] if c.writes == "blocks" else []
        new = [row[k:] + tail for row, k in zip(rows, kept, strict=True)]
        ids = torch.full((len(rows), max(map(len, new))), c.pad_token_id)
        segment, token, character = torch.zeros_like(ids), torch.zeros_like(ids), torch.full_like(ids, -1)
        for b, (line, k) in enumerate(zip(new, kept, strict=True)):
            n = len(line)
            ids[b, :n] = torch.tensor(line)
            segment[b, :n] = 1
            token[b, :n] = torch.arange(k, k + n)
            character[b, n - len(tail) : n] = 0
        places = Places(segment.to(device), token.to(device), character.to(device))
        h_BQD, cache = self.read(ids.to(device), places, cache)
        last_B = places.segment.sum(1) - 1
        h_BD = h_BQD[torch.arange(len(rows), device=device), last_B]
        return self.head(h_BD).float(), BlockState(cache, rows, 0, kept)

    @torch.no_grad()
    def step(self, ids_B: Tensor, writing: BlockState) -> tuple[Tensor, BlockState]:
        """Logits of each row's next character, and the state, after one more id is read.

        Returns:
            logits [B, V] and the writing that goes on.
        """
        offset = writing.offset + 1
        ones_B1 = torch.ones_like(ids_B)[:, None]
        token_B1 = torch.tensor([[len(p)] for p in writing.prefixes], device=ids_B.device)
        if self.config.writes == "blocks":
            places = Places(ones_B1, token_B1, ones_B1 * offset)
        else:
            places = Places(ones_B1, token_B1 + offset - 1, -ones_B1)
        h_BQD, cache = self.read(ids_B[:, None], places, writing.cache)
        return self.head(h_BQD[:, 0]).float(), BlockState(cache, writing.prefixes, offset, writing.reused)


def _common(old: list[int], new: list[int], grows: bool) -> int:
    """How many of the first tokens keep their states."""
    if not grows:
        return len(new) if old == new else 0
    return next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
