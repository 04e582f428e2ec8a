"""podman with a storage of its own: nothing of others is seen, nothing is left behind."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

# runc: crun refuses mixed control groups. The limits: without CAP_SYS_RESOURCE nobody may have more than the caller.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Engine:
    """Runs podman on the storage below a folder."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "containers.conf"
        configuration.write_text(CONFIGURATION)
        self.environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}
        self.command = ["podman", "--root", str(self.folder / "root"), "--runroot", str(self.folder / "run")]
        self.command += ["--network-config-dir", str(self.folder / "net")]

    def __call__(self, *arguments, check=True, timeout=300, stdin=None):
        done = subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
        done.stdout = done.stdout.decode("utf-8", "replace")
        if check and done.returncode != 0:
            raise RuntimeError(f"podman {' '.join(arguments[:3])}: {done.stderr.decode('utf-8', 'replace')}")
        return done

    def copy(self, container, files):
        """Writes `{path: (text, mode)}` into a container, for root."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path, (text, mode) in files.items():
                entry = tarfile.TarInfo(path.lstrip("/"))
                content = text.encode()
                entry.size, entry.mode = len(content), mode
                tar.addfile(entry, io.BytesIO(content))
        self("cp", "-", f"{container}:/", stdin=archive.getvalue())
