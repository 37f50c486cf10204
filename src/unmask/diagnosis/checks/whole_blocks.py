from __future__ import annotations

import re
from dataclasses import dataclass

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding

#: what should stand in one block: a whole number, or a whole word; of one character there is nothing to cut
_NUMBER, _WORD = re.compile(r"\d{2,}"), re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class WholeBlocks(Check):
    """Does a block hold a whole word or a whole number?

    A block that is spelled last character first gives a number least digit first only if all of it stands there; when
    blocks are single BPE tokens, its first half is written before its second half is known, carries and all. Counted in
    the texts' own blocks: numbers of several digits and words of several letters with an edge inside. It fails if one
    number in twenty or one word in four is cut, and warns from one word in twenty on.
    """

    title = "Does a block hold a whole word or number?"
    fault = "Blocks cut through numbers or words."
    needs = ("blocks",)
    repair = "tokenizer"
    leads_to = ()

    def run(self, context: CheckContext) -> Finding:
        cut, count = {"numbers": 0, "words": 0}, {"numbers": 0, "words": 0}
        for pieces in context.subject.blocks(context.budget.rows):
            edges, at = set(), 0
            for piece in pieces:
                at += len(piece)
                edges.add(at)
            for kind, pattern in (("numbers", _NUMBER), ("words", _WORD)):
                for found in pattern.finditer("".join(pieces)):
                    count[kind] += 1
                    cut[kind] += any(found.start() < edge < found.end() for edge in edges)
        if not sum(count.values()):
            return Finding("not_run", why="the texts hold no word or number of more than one character")
        share = {kind: cut[kind] / count[kind] if count[kind] else 0.0 for kind in count}
        failed = share["numbers"] > 0.05 or share["words"] > 0.25
        status = "fail" if failed else "warn" if share["words"] > 0.05 else "pass"
        said = " and ".join(f"{share[kind]:.0%} of {count[kind]} {kind}" for kind in count if count[kind])
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"{said} are cut between blocks",
            threshold="5 % of the numbers or a quarter of the words to fail; 5 % of the words to warn",
            why="What is cut is not written last character first: its beginning comes before its end is known."
            if status != "pass"
            else "What belongs together is written together.",
            next_step="Make a block a whole word or a whole number (blocks='word' or 'number'), not one BPE token."
            if status != "pass"
            else "",
            numbers={"numbers_cut": share["numbers"], "words_cut": share["words"], **count},
            share=max(share.values()) if failed else 0.0,
        )
