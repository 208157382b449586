"""The two servers of the local stack, each bound to the loopback."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tools.stack import processes
from tools.stack.settings import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Settings, StackError, stack_bin

WORKERS_BYTES = 2 * 1024**3
"""What must be free in memory before workers unpack there: 60 of them, 30 MB each."""


@dataclass(frozen=True)
class LocalAws:
    """ministack: everything of AWS that the template names, behind one port."""

    settings: Settings

    @property
    def pid_file(self) -> Path:
        return self.settings.data / "ministack.pid"

    def running(self) -> bool:
        server = processes.read(self.pid_file)
        return server is not None and server.port == self.settings.port and _answers(f"{self.settings.endpoint}/_ministack/health")

    def knows(self, stack_name: str) -> bool:
        """Says whether a stack of that name is deployed: asked without boto3, whose import takes longer than the rest of a second `up`."""
        request = urllib.request.Request(
            f"{self.settings.endpoint}/",
            data=f"Action=DescribeStacks&Version=2010-05-15&StackName={stack_name}".encode(),
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/20260101/{REGION}/cloudformation/aws4_request, "
                "SignedHeaders=host, Signature=0",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # loopback only
                return b"_COMPLETE</StackStatus>" in answer.read()
        except (urllib.error.URLError, OSError):
            return False

    def start(self) -> None:
        """Starts it on what it kept. Its state is written only by an orderly stop, its objects at once: after a crash the objects of a
        stack that it no longer knows would stand in the way of a new one, so they are put aside."""
        processes.need_free({self.settings.port: "STOCKTAKE_PORT"})
        state, objects = (self.settings.data / "ministack" / name for name in ("state", "objects"))
        if objects.exists() and not (state / "cloudformation.json").exists():
            shutil.rmtree(objects.with_name("objects.lost"), ignore_errors=True)
            objects.rename(objects.with_name("objects.lost"))
        for folder in (state, objects):
            folder.mkdir(parents=True, exist_ok=True)
        temporary = self._fresh_temporary()
        processes.start(
            "ministack",
            [str(stack_bin() / "ministack")],
            pid_file=self.pid_file,
            log=self.settings.log / f"ministack-{self.settings.store}.log",
            port=self.settings.port,
            environment={
                "PATH": f"{stack_bin()}:/usr/bin:/bin",
                "HOME": str(temporary),
                "TMPDIR": str(temporary),
                "LANG": "C.UTF-8",
                "GATEWAY_PORT": str(self.settings.port),
                "BIND_HOST": "127.0.0.1",
                "MINISTACK_HOST": "localhost",
                "MINISTACK_REGION": REGION,
                # The roles of the template are enforced, as on AWS: a grant that is missing is found here.
                "AUTH": "true",
                "PERSIST_STATE": "1",
                "STATE_DIR": str(state),
                "S3_PERSIST": "1",
                "S3_DATA_DIR": str(objects),
                # Listeners nobody asked for, and a Docker that may be there but is never used.
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                "DOCKER_HOST": "unix:///nonexistent",
                "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
                "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            },
            ready=lambda: _answers(f"{self.settings.endpoint}/_ministack/health"),
        )

    def stop(self) -> bool:
        """Stops it; False when it was gone already, or went without saving its state."""
        # It writes all of its state as it goes: about a second for a demonstration, more for a ledger of many thousand rows.
        saved = processes.stop(self.pid_file, seconds=30)
        for folder in self._temporaries():
            shutil.rmtree(folder, ignore_errors=True)
        return saved

    def _temporaries(self) -> list[Path]:
        """Where its workers may unpack: first memory, if this machine has it to spare, then the disk.

        Each worker unpacks the layer for itself, some 1500 files: 0.3 s in memory, 1.5 s on a slow disk, at every cold start.
        """
        places = [self.settings.data / "ministack" / "tmp"]
        memory = Path("/dev/shm")
        if memory.is_dir():
            room = os.statvfs(memory)
            if room.f_bavail * room.f_frsize > WORKERS_BYTES and not room.f_flag & os.ST_NOEXEC:
                mark = hashlib.sha256(str(self.settings.data).encode()).hexdigest()[:12]
                places.insert(0, memory / f"stocktake-{os.getuid()}-{mark}")
        return places

    def _fresh_temporary(self) -> Path:
        """Makes an empty folder for the workers: they leave their copies of the layer behind, and none can be running now."""
        for place in self._temporaries():
            shutil.rmtree(place, ignore_errors=True)
            try:
                place.mkdir(mode=0o700, parents=True)
            except OSError:  # someone else's, in a folder that everyone may write to
                continue
            return place
        raise StackError(f"no folder for temporary files could be made under {self.settings.data}")


@dataclass(frozen=True)
class SeaweedFs:
    """SeaweedFS: a real S3 server that is not AWS, with credentials of its own and no events."""

    settings: Settings

    @property
    def pid_file(self) -> Path:
        return self.settings.data / "seaweedfs.pid"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.settings.store_port}"

    def running(self) -> bool:
        server = processes.read(self.pid_file)
        return server is not None and server.port == self.settings.store_port and _answers(f"{self.endpoint}/healthz")

    def credentials(self) -> tuple[str, str]:
        """The access key it knows, made up on first use and kept beside its data."""
        path = self._folder / "s3.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            credentials = [{"accessKey": secrets.token_hex(10).upper(), "secretKey": secrets.token_hex(20)}]
            identity = {"name": "stocktake", "credentials": credentials, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
            path.touch(mode=0o600)
            path.write_text(json.dumps({"identities": [identity]}))
        pair = json.loads(path.read_text())["identities"][0]["credentials"][0]
        return pair["accessKey"], pair["secretKey"]

    def start(self) -> None:
        """Starts it on what it kept; its objects are on disk as soon as it has confirmed them."""
        s3 = self.settings.store_port
        filer, master, volume = s3 + 1, s3 + 2, s3 + 3
        ports = (s3, filer, master, volume)
        processes.need_free({port + shift: "STOCKTAKE_STORE_PORT" for port in ports for shift in (0, 10000)})
        self.credentials()
        logs = self.settings.log / "seaweedfs"
        for folder in (logs, self._folder / "data"):
            folder.mkdir(parents=True, exist_ok=True)
        processes.start(
            "seaweedfs",
            [
                str(stack_bin() / "weed"),
                f"-logdir={logs}",
                "server",
                f"-dir={self._folder / 'data'}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-master.port={master}",
                "-master.telemetry=false",
                # Alone, it elects itself: a restart takes 3 s instead of 17 s.
                "-master.electionTimeout=1s",
                "-master.heartbeatInterval=100ms",
                "-master.volumeSizeLimitMB=1024",
                f"-volume.port={volume}",
                "-volume.max=0",
                "-filer",
                f"-filer.port={filer}",
                "-s3",
                f"-s3.port={s3}",
                f"-s3.config={self._folder / 's3.json'}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.iam=false",
            ],
            pid_file=self.pid_file,
            log=self.settings.log / "seaweedfs.log",
            port=s3,
            environment={"PATH": f"{stack_bin()}:/usr/bin:/bin", "HOME": str(self._folder), "LANG": "C.UTF-8"},
            ready=lambda: _answers(f"{self.endpoint}/healthz"),
            seconds=60,
        )

    def stop(self) -> None:
        # Its orderly stop waits 15 s for connections to go idle. What it has acknowledged is with the operating system by then, so
        # killing the process loses nothing (800 objects put and the process killed at once: all there after the restart).
        processes.stop(self.pid_file, seconds=2)

    @property
    def _folder(self) -> Path:
        return self.settings.data / "seaweedfs"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # loopback only
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
