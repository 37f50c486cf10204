"""What a model is, said by its config.json: decided here once, for everything that loads one.

Names decide nothing where transformers' own tables do: a class is causal or masked because transformers lists it so. No
code from a checkpoint is ever run to find out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unmask.core.errors import CheckpointError, UsageError

FamilyName = Literal["unmask", "tidal", "llada", "dream", "masked", "causal", "other"]

#: classes of the adapters' own formats, by model_type; other classes under these types are other models
ADAPTED: dict[str, tuple[FamilyName, tuple[str, ...]]] = {
    "llada": ("llada", ("LLaDAModelLM", "LLaDAModel")),
    "Dream": ("dream", ("DreamModel", "DreamBaseModel")),
}
#: parts of the names of published diffusion language models that come with code of their own
_DIFFUSION = re.compile(
    r"diff(?!llama|erential)|dllm|mdlm|bd3lm|block_?diff|sdar|llada|dream|a2d|duo(?![a-z])|sedd|gidd|udlm|esolm|mmada|"
    r"lavida|dimple|trado|plaid|wedlm|refusion|rnd1",
    re.IGNORECASE,
)
_MASKS = ("mask_token_id", "mask_id", "mask_index")


@dataclass(frozen=True)
class ModelKind:
    """The kind of model that a config.json describes: the family that reads it, and words for messages.

    Attributes:
        family: what reads it; "other" if nothing here does.
        said: what it is, ready for a sentence: ``a causal language model (GPT2LMHeadModel)``.
        hint: what could be done about one that is not read; may be empty.
        own_code: whether only code that comes with the checkpoint can run it.
        diffusion: whether it fills masks or removes noise; only told of those in ``other`` that have own code.
    """

    family: FamilyName
    said: str
    hint: str = ""
    own_code: bool = False
    diffusion: bool = False


def kind_of(raw: Mapping[str, Any]) -> ModelKind:
    """The kind of model that a parsed config.json describes.

    A class that transformers lists as masked is masked, one that it lists as causal is causal, with one exception: the
    BERT kind is causal if and only if ``is_decoder`` is set (XLM: ``causal``), whatever class is named, as it looks at
    both sides otherwise. An encoder-decoder is neither.

    Args:
        raw: of config.json.
    """
    kind = str(raw.get("model_type"))
    named = raw.get("architectures")
    name = str(named[0]) if isinstance(named, (list, tuple)) and named else None
    if kind.startswith("unmask"):
        if "tidal" in kind:
            return ModelKind("tidal", "a tidal model of unmask's own")
        return ModelKind("unmask", "a masked diffusion model of unmask's own")
    if kind in ADAPTED and (name is None or name in ADAPTED[kind][1]):
        return ModelKind(ADAPTED[kind][0], f"a masked diffusion model ({name or kind})")
    if raw.get("model_type") is None:
        return ModelKind("other", "a model whose config.json names no model_type", "save it with save_pretrained")
    table = _Table.of(kind)
    own = _own_code(kind, name, raw, table)
    if own is not None:
        return own
    said = name or kind
    if table is None:
        return _unknown(kind, said)
    return _listed(raw, kind, name, said, table)


@dataclass(frozen=True)
class _Table:
    """transformers' classes for one model_type; None where it has none."""

    causal: str | None
    masked: str | None
    pretraining: str | None
    seq2seq: str | None
    body: str | None

    @classmethod
    def of(cls, kind: str) -> _Table | None:
        """None for a type that transformers does not know."""
        from transformers.models.auto import modeling_auto as auto
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        if kind not in CONFIG_MAPPING:
            return None
        config = CONFIG_MAPPING[kind]

        def name(mapping: str) -> str | None:
            names = getattr(auto, f"{mapping}_NAMES").get(kind)
            if names is None:
                # what somebody registered in this process is in the mapping alone
                lazy = getattr(auto, mapping)
                names = lazy[config].__name__ if config in lazy else None
            return names[0] if isinstance(names, (list, tuple)) else names

        return cls(
            *(
                name(f"MODEL_{part}MAPPING")
                for part in ("FOR_CAUSAL_LM_", "FOR_MASKED_LM_", "FOR_PRETRAINING_", "FOR_SEQ_TO_SEQ_CAUSAL_LM_", "")
            )
        )

    def lists(self, name: str | None) -> bool:
        return name in {self.causal, self.masked, self.pretraining, self.seq2seq, self.body} - {None}


def _listed(raw: Mapping[str, Any], kind: str, name: str | None, said: str, table: _Table) -> ModelKind:
    """A type that transformers knows."""
    decoder = bool(raw.get("causal") if table.causal == table.masked else raw.get("is_decoder"))
    if raw.get("is_encoder_decoder", table.seq2seq is not None and name in (None, table.seq2seq)):
        return ModelKind(
            "other", f"an encoder-decoder ({said})", "encoder-decoders are not read: name a decoder-only model"
        )
    # those whose attention looks both ways unless their configuration says otherwise
    both_ways = (table.masked is not None and table.seq2seq is None) or kind == "bert-generation"
    if both_ways and table.causal is not None and decoder:
        return ModelKind("causal", f"a causal language model ({said}, a decoder)")
    if name is None or name == table.body:
        if name is None and table.masked is not None and table.seq2seq is None:
            return ModelKind("masked", f"a masked language model ({said})")
        if table.causal is not None and table.masked is None:
            return ModelKind("causal", f"a causal language model ({said})")  # its weights show whether it has a head
        return ModelKind(
            "other", f"a {said}, which has no head that predicts tokens", "name a checkpoint with its head"
        )
    if both_ways and name == table.causal != table.masked:
        return ModelKind(
            "other",
            f"a {said} without is_decoder in its config.json, so that it looks at both sides of a token",
            "set is_decoder to true if it was trained left to right",
        )
    if table.masked is not None and table.seq2seq is None:
        if name in (table.masked, table.pretraining):
            return ModelKind("masked", f"a masked language model ({said})")
    elif name == table.causal or (table.causal is not None and name.endswith("ForConditionalGeneration")):
        return ModelKind("causal", f"a causal language model ({said})")
    return ModelKind(
        "other", f"a {said} (model_type {kind!r}), which is no language model that fills masks or writes on"
    )


def _own_code(kind: str, name: str | None, raw: Mapping[str, Any], table: _Table | None) -> ModelKind | None:
    """A model that only its own code can run; None for others."""
    coded = raw.get("auto_map")
    mapped = coded if isinstance(coded, Mapping) else {}
    names = " ".join([kind, name or "", *(str(value) for value in mapped.values())])
    diffusion = bool(_DIFFUSION.search(names))
    # no model that writes left to right has a mask token
    masks = any(raw.get(key) is not None for key in _MASKS) and (table is None or table.masked is None)
    if table is not None and not (mapped and (diffusion or masks or not table.lists(name))):
        return None  # transformers' own code runs it, whatever code lies beside it
    if table is None and not mapped and not diffusion:
        return None
    said = name or kind
    masked = said.endswith("ForMaskedLM") or {key for key in mapped if "LM" in key} == {"AutoModelForMaskedLM"}
    what = "model"
    if diffusion or (masks and not masked):
        diffusion, what = True, "diffusion model"
    elif masked:
        what = "masked language model"
    near = difflib.get_close_matches(kind, ADAPTED, n=1, cutoff=0.8)  # a slip of the pen, not a later version
    hint = f"of those LLaDA and Dream are read{f'; did you mean {near[0]!r}?' if near else ''}"
    return ModelKind(
        "other", f"a {what} with code of its own ({said}), which unmask does not run", hint, True, diffusion or masked
    )


def _unknown(kind: str, said: str) -> ModelKind:
    import transformers

    near = difflib.get_close_matches(kind, ADAPTED, n=1, cutoff=0.6)
    what = f"a {said} (model_type {kind!r}), which transformers {transformers.__version__} does not know"
    return ModelKind("other", what, f"did you mean {near[0]!r}?" if near else "a newer version of it may")


def require_causal(kind: ModelKind, name: str, own_code: bool = False) -> None:
    """Refuse what does not predict each token from those before it.

    Args:
        kind: from :func:`kind_of`.
        name: what the user called it.
        own_code: accept a model with code of its own, if it is not known to be a diffusion model.

    Raises:
        UsageError: naming what it is.
    """
    if kind.family == "causal" or (own_code and kind.own_code and not kind.diffusion):
        return
    if kind.family == "other":
        hint = f": {kind.hint}" if kind.hint else ""
        raise UsageError(f"{name!r} is {kind.said}{hint}")
    raise UsageError(
        f"{name!r} is {kind.said}, not a causal one: it looks at both sides of a token, so it has no cache to compress "
        "and judges no text; `unmask evaluate` and `unmask sample` take it"
    )


def require_masked(kind: ModelKind, name: str) -> None:
    """Refuse what no adapter reads.

    Raises:
        UsageError: a causal language model.
        CheckpointError: one of ours without its card, or what nothing here reads.
    """
    if kind.family in ("llada", "dream", "masked"):
        return
    if kind.family in ("unmask", "tidal"):
        raise CheckpointError(f"{name!r} holds no unmask.json: it is not a finished unmask model folder")
    if kind.family == "causal":
        raise UsageError(
            f"{name!r} is {kind.said}, which has no masks to fill: compress its cache with "
            "`unmask kv`, judge texts with it (judge=...), or load it with unmask.models.causal.load_causal"
        )
    hint = f": {kind.hint}" if kind.hint else ""
    raise CheckpointError(f"{name!r} is {kind.said}{hint}")
