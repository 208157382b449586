"""Whether a store refuses one key, or every request.

A lock, a policy on a prefix or an encryption with a key that is not ours makes a store refuse one key and answer for all others. What it
says then it may also say of bad credentials: an answer to HEAD has no body, and is a bare 403 or 400 either way. So the store is asked
for something else, which no single key can spoil.
"""

from __future__ import annotations

from stocktake.errors import (
    BucketNotFound,
    ListingIncomplete,
    StocktakeError,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    WrongRegion,
)
from stocktake.storage import Store

_OF_THE_STORE = (StorageUnavailable, BucketNotFound, WrongRegion, ListingIncomplete)


def check_is_of_key(store: Store, error: StocktakeError) -> None:
    """Makes sure that what became of a request for one key is that key's own trouble; sends one request where the answer did not tell.

    Raises:
        StorageError: it is the store's, `error` or what it says now: nothing is known of the key, and whoever asks again goes on.
    """
    if isinstance(error, _OF_THE_STORE):
        raise error
    if isinstance(error, StorageError):
        store.whereabouts()


def is_refused(error: StocktakeError) -> bool:
    """Says whether the store refused what was asked of it, and did not find it to be otherwise than was thought."""
    return isinstance(error, StorageDenied) or (isinstance(error, StorageError) and error.code != "")
