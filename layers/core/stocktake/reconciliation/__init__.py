"""The reconciliation flow.

`runs` opens, cuts and ends a run, `walking` compares one range of it, `totals` counts, `doubts` says what of that is not to be believed,
`owners` says whose a key is. `selection` reads findings as they are asked for, `changes` compares those of a run with those of the one
before.
"""

from __future__ import annotations

from stocktake.reconciliation.runs import KIND, Reconciliations, run_of_execution
from stocktake.reconciliation.selection import Wanted
from stocktake.reconciliation.totals import count_of_project, counts_by_project, nested

__all__ = ["KIND", "Reconciliations", "Wanted", "count_of_project", "counts_by_project", "nested", "run_of_execution"]
