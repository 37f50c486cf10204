from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.encoding import other_ids, special_ids
from unmask.diagnosis.finding import Finding


@dataclass(frozen=True)
class Vocabulary(Check):
    """Do tokenizer, ids and head belong together?

    All closed forms: ids lie in the vocabulary; the special ids are different ids inside it; the head has one logit an
    id; the tokenizer has as many ids; the data's ids decode to the data's texts (case and white space aside, as some
    tokenizers fold them), and so do the texts' own ids. One text in twenty may be folded in other ways; from a
    half on it fails. And the texts, encoded again, give the very ids that the data holds: any other segmentation of
    the same texts decodes to them too. One in twenty may differ; from a tenth on it fails.
    """

    title = "Do tokenizer, ids and head belong together?"
    fault = "Tokenizer, ids and head do not belong together."
    repair = "tokenizer"
    leads_to = (
        "loss_by_ratio",
        "latent_use",
        "safe_words",
        "length",
        "frontier",
        "train_inference",
        "memorisation",
        "compounding",
    )

    def run(self, context: CheckContext) -> Finding:
        s = context.subject
        faults: list[str] = []
        warnings: list[str] = []
        numbers: dict[str, Any] = {"vocab_size": s.vocab_size}
        ids = {"mask": s.mask_id, "padding": s.pad_id, "EOS": s.eos_id}
        known = {k: v for k, v in ids.items() if v is not None}
        low, high = int(context.batch.ids_BL.min()), int(context.batch.ids_BL.max())
        if low < 0 or high >= s.vocab_size:
            faults.append(f"the data holds id {low if low < 0 else high}, the vocabulary has {s.vocab_size}")
        if s.mask_id is not None and bool((context.batch.ids_BL == s.mask_id).any()):
            faults.append("the data itself holds the mask id")
        if s.kind == "masked" and len(set(known.values())) < len(known):
            faults.append(f"special ids coincide: {known}")
        for name, value in known.items():
            if not 0 <= value < s.vocab_size:
                faults.append(f"the {name} id {value} lies outside the vocabulary of {s.vocab_size}")
        width = context.logits(context.usual_state().rows(0, 1)).shape[-1]
        numbers["head"] = width
        if width != s.vocab_size:
            faults.append(f"the head has {width} logits, the vocabulary {s.vocab_size} ids")
        if s.tokenizer is not None:
            self._tokenizer(context, numbers, faults, warnings)
        status = "fail" if faults else "warn" if warnings else "pass"
        said = "; ".join(faults + warnings) or "ids, special ids, head" + (
            " and tokenizer fit" if s.tokenizer is not None else " fit (no tokenizer given)"
        )
        return Finding(
            status,  # type: ignore[arg-type]
            measured=said,
            threshold="equality; 95 % of the texts come back (half to fail) and give the data's ids (a tenth to fail)",
            why="The model writes ids, and with another table they are other words."
            if status != "pass"
            else "What the model writes is what the tokenizer reads.",
            next_step="Load the tokenizer that made the training data, and size the head by len(tokenizer)."
            if status != "pass"
            else "",
            numbers=numbers,
            share=1.0 if faults else 0.0,
            # texts and ids are compared without the model
            own=bool(faults),
        )

    @staticmethod
    def _tokenizer(context: CheckContext, numbers: dict[str, Any], faults: list[str], warnings: list[str]) -> None:
        s, tokenizer = context.subject, context.subject.tokenizer
        if hasattr(tokenizer, "__len__"):
            numbers["tokenizer"] = len(tokenizer)
            if len(tokenizer) > s.vocab_size:
                faults.append(f"the tokenizer has {len(tokenizer)} ids, the model {s.vocab_size}")
        texts = context.batch.texts
        if texts is None:
            return
        special = special_ids(context)
        back = own = 0
        for text, row in zip(texts, context.batch.ids_BL.tolist(), strict=True):
            kept = row[: row.index(s.eos_id)] if s.eos_id in row else row
            said = _folded(tokenizer.decode([i for i in kept if i not in special]))
            back += bool(said) and _folded(text).startswith(said[: max(len(said) - 4, 1)])
            if callable(getattr(tokenizer, "encode", None)):
                own += _folded(tokenizer.decode(tokenizer.encode(text, add_special_tokens=False))) == _folded(text)
        n = len(texts)
        checked = {"the data's ids decode to the data's texts": back / n}
        if callable(getattr(tokenizer, "encode", None)):
            checked["encoding and decoding gives the text back"] = own / n
        for claim, share in checked.items():
            numbers[claim] = share
            if share < 0.95:
                (faults if share < 0.5 else warnings).append(f"in {share:.0%} of the texts {claim}")
        changed = other_ids(context, context.batch)
        if changed is not None:
            numbers["texts with other ids"] = changed
            if changed > 0.05:
                words = f"{changed:.0%} of the texts, encoded again, give other ids than the data holds"
                (faults if changed > 0.1 else warnings).append(words)


def _folded(text: str) -> str:
    return "".join(text.casefold().split())
