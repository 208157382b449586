"""Project deletion: close, discover, remove, wait, look again, and only then say deleted.

```
DELETE -> gate closed, epoch + 1 -> event -> discover (round 1) -> batches -> workers -> final sweep -> receipt
                                                ^                                           |
                                                +------ something is left: next round ------+
```

Every step can be delivered twice, killed anywhere and started again, because what is to be done is written before it is done:

- A batch is a row that holds its keys before the message that names it is sent. Discovery resumes after the last key of the last batch
  row, so two discoveries at once write the same batches or find them written.
- What a batch removed is decided by its row, not by who deleted first: a key that is gone when the worker comes was removed by this
  batch. The result row is written once, in one transaction with the counter of finished batches.
- The final sweep waits until nothing begun before the gate closed can still be on its way, then lists every prefix of every layout
  afresh. A key that no prefix shows is asked for by name, where a URL given out before may have written it again after its record was
  removed: result rows keep those names (`unsettled`).
- A CDN before the bucket is told of each batch once its bytes are gone, and again before the receipt of what it did not take. That stands
  on the receipt and changes nothing else of it: a cache is no proof of bytes.
- Where a deletion can be undone, a round 0 comes before: all is set aside, and moved back or erased later (`undo_window`).
- Of a project that was deleted nothing stays that its callers said: the final sweep forgets generations, kept answers and multipart
  uploads before it looks, so that a receipt is only written once they are gone.

The steps of one deletion are messages `{"deletion_id", "step": "set_aside" | "undo" | "discover" | "verify" | "resume", "round"}` on one
queue, and `{"deletion_id", "part"}` for the workers on another. A schedule puts `{"step": "windows"}` on the first.

`steps` takes the steps, `undo_window` those of round 0, in which `set_aside` moves objects aside and back, `wiring` is where messages go,
`batches` is how a batch lies in its row, `removal` empties one and forgets, `purging` tells the CDN, `refusals` and `remaining` are what
the store did not delete, `receipts` adds up what was done, `previews` looks without deleting.
"""

from __future__ import annotations

from stocktake.project_deletion.purging import Purging
from stocktake.project_deletion.steps import KIND, ProjectDeletions
from stocktake.project_deletion.wiring import Send, Wiring

__all__ = ["KIND", "ProjectDeletions", "Purging", "Send", "Wiring"]
