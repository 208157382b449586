"""Debian's Chromium, driven by Playwright: no browser is downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")


class NoBrowser(Exception):
    """There is no Chromium here, and none can be installed."""


def found() -> str:
    """Returns where Chromium is; installs Debian's package where there is none and whoever asks may install it.

    Raises:
        NoBrowser: saying why.
    """
    here = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if here:
        return here
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise NoBrowser("there is no chromium on this machine, and it can be installed only by root with apt-get: apt-get install chromium")
    _apt("update")
    done = _apt("install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core")
    here = shutil.which("chromium")
    if here is None:
        raise NoBrowser(f"chromium could not be installed: {(done.stderr.strip().splitlines() or ['apt-get said nothing'])[-1]}")
    return here


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(["apt-get", *arguments], capture_output=True, text=True, env=quiet, check=False)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Starts a headless Chromium, and ends it. Raises NoBrowser."""
    executable = found()
    # its own sandbox needs user namespaces, which containers seldom have; what it is shown here is ours
    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        try:
            yield browser
        finally:
            browser.close()
