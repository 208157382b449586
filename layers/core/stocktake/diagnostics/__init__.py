"""The diagnostics flow: is everything as it should be, what is true of one object, and does a round trip work.

```
check          one thing that was looked at: how it is, what that means, what to do
surroundings   what AWS tells of the deployment, as it is handed in
side_by_side   looks that run at once, each with a deadline
store_looks    credentials, bucket, region, clock, rights, identity, CORS, public URL
other_looks    settings, tables, ledger, dead letters, what the store can do
looking        all of them, as one answer
one_object     one key on both sides
self_test      a round trip on a key of its own
first_bytes    what a URL gives at its beginning
redaction      what no answer shows
```

A look writes nothing; only the self-test does, under a prefix that no layout shows and no run counts.
"""

from stocktake.diagnostics.check import Check, worst
from stocktake.diagnostics.looking import Diagnostics
from stocktake.diagnostics.one_object import ObjectDiagnosis
from stocktake.diagnostics.self_test import SelfTest
from stocktake.diagnostics.surroundings import Credentials, Surroundings

__all__ = [
    "Check",
    "Credentials",
    "Diagnostics",
    "ObjectDiagnosis",
    "SelfTest",
    "Surroundings",
    "worst",
]
