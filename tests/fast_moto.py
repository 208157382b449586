"""moto as these tests need it: one call at a time, and no search for what is already spelled right. Half the price of a call.

And botocore's models are read once for all sessions: every deployment of a test has a session of its own.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.loaders import create_loader
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.serialize import AttributePickerContext, XFormedAttributePicker
from moto.core.utils import method_names_from_class


@contextmanager
def fast_moto() -> Iterator[None]:
    """Mocks AWS until its end."""
    lock = threading.RLock()
    process, pick = BotocoreStubber.process_request, XFormedAttributePicker.__call__

    def process_one(stubber: BotocoreStubber, request: Any) -> Any:
        with lock:  # moto copies tables while other threads write them
            return process(stubber, request)

    def pick_one(picker: XFormedAttributePicker, context: AttributePickerContext) -> Any:
        # DynamoDB's answers are made as they are sent; moto would try six other spellings of every field that is not there
        is_plain = type(context.obj) is dict and not picker.response_transformers
        if is_plain and context.service_model and context.service_model.service_name == "dynamodb":
            return context.obj.get(context.key)
        return pick(picker, context)

    with pytest.MonkeyPatch.context() as patched, mock_aws():
        patched.setattr("botocore.session.create_loader", functools.cache(create_loader))
        patched.setattr(BotocoreStubber, "process_request", process_one)
        patched.setattr(XFormedAttributePicker, "__call__", pick_one)
        patched.setattr("moto.core.responses.method_names_from_class", functools.cache(method_names_from_class))
        yield
