"""What schemathesis sends as raw bytes, where it has no idea of its own: images, and what is none."""

from __future__ import annotations

from hypothesis import strategies as st
from schemathesis import openapi

from stocktake.checks import ALLOWED
from tests.unit.world import an_image

_BYTES = st.one_of(st.integers(1, 20).map(an_image), st.binary(max_size=64))

for media_type in ALLOWED:
    openapi.media_type(media_type, _BYTES)
