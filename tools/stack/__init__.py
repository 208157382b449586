"""The local stack: the real template on a local AWS, on this machine alone, without Docker and without an account.

`ministack` plays AWS behind one port; the template is built and deployed to it by the real `sam`. With STORE=seaweedfs the data bucket
lies in a SeaweedFS server instead, reached by endpoint and credentials as Cloudflare R2 would be.

    python -m tools.stack up        start what is not running, build and deploy what has changed
    python -m tools.stack down      stop; what was stored stays under .local/
    python -m tools.stack status    what runs, and where
    python -m tools.stack build     only build, into .aws-sam/build
    python -m tools.stack env       the settings that point aws, sam and boto3 at it, for `eval`
    python -m tools.stack token     a token that may everything, or: --scope read --scope write --project p1 --hours 1
    python -m tools.stack event upload/put_raw     an event of events/ with a fresh token, for `sam local invoke UploadFunction -e -`

From Python: `Settings.from_environment()`, `up(settings)`, `Stack.running()`.
"""

from tools.stack.access import Stack
from tools.stack.lifecycle import down, up
from tools.stack.settings import Settings, StackError, stack_bin

__all__ = ["Settings", "Stack", "StackError", "down", "stack_bin", "up"]
