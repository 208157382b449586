"""Migration: existing records in, what is unstored into the bucket, the ledger out.

```
file of records -> import -> INLINE, EXTERNAL or STORED records -> migrate -> STORED records
                                                                   ledger  -> export  -> files of records
```

A migration goes in batches. What a batch holds, and which of it was there before, is a row that is written before any of it is acted on;
what came of it is written once, in one transaction with the counters. So a batch may be killed anywhere, delivered twice and done again:
it does what is left, and counts as if it had been done once. A run begins after the last batch that has a result, wherever the one before
it stopped. Starting a migration again that has come to its end is another run, which finds what is done and tries what failed.

`lines` reads a file, `entries` is what is asked for and what one line says, `imports` makes records of it, `storing` moves one record into
the bucket, `steps` is the flow, `exports` the way back. The edge reads requests by `entries` alone: the rest is dear to import.
"""
