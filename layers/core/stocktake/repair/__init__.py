"""The repair step of reconciliation.

`policies` says what may be done about what, `breaker` how much at once, `plans` works it out beforehand, `acting` does one finding and
`holding` keeps others from its key meanwhile, `steps` takes the requests and the steps of the state machine. `restoring` takes a run's
quarantine back, and `expiry` ends it.
"""

from __future__ import annotations

from stocktake.repair.acting import Actor
from stocktake.repair.breaker import Breaker
from stocktake.repair.expiry import Expiry
from stocktake.repair.holding import Holds
from stocktake.repair.plans import Plans
from stocktake.repair.policies import POLICIES
from stocktake.repair.restoring import Restorations
from stocktake.repair.steps import Repairs

__all__ = ["POLICIES", "Actor", "Breaker", "Expiry", "Holds", "Plans", "Repairs", "Restorations"]
