"""Every page, figure, table and terminal view of a result, on one page system; results themselves are data.

A result finds what draws it through :mod:`unmask.core.render`, by the tables here.
"""

from unmask.core.render import PAGES, VIEWS

PAGES.update(
    BlockTrace="unmask.reporting.blocks:page",
    BoardScores="unmask.reporting.puzzle:page",
    Evaluation="unmask.reporting.evaluation:page",
    KvResult="unmask.reporting.kv:page",
    SearchTrace="unmask.reporting.search:page",
    TidalEvaluation="unmask.reporting.evaluation:tidal_page",
    Trace="unmask.reporting.trace:page",
    Verdict="unmask.reporting.verdict:page",
)
VIEWS.update(
    BoardScores="unmask.reporting.puzzle:tables",
    Evaluation="unmask.reporting.evaluation:tables",
    KvResult="unmask.reporting.kv:tables",
    TidalEvaluation="unmask.reporting.evaluation:tidal_tables",
    Trace="unmask.reporting.live:show",
    Verdict="unmask.reporting.verdict_view:view",
)
