"""The reconciliation flow.

`runs` opens, cuts and ends a run, `walking` compares one range of it, `totals` counts, `owners` says whose a key is.
"""

from __future__ import annotations

from stocktake.reconciliation.runs import KIND, Reconciliations, run_of_execution
from stocktake.reconciliation.totals import count_of_project, nested

__all__ = ["KIND", "Reconciliations", "count_of_project", "nested", "run_of_execution"]
