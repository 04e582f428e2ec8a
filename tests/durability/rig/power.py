"""A data folder on ext4 on a loop device on a disk that loses power."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from appliance import Fault

SIZE = 768 << 20


class Machine:
    """The mounted file system, and the disk beneath it."""

    def __init__(self, home, seed):
        self.home, self.seed, self.starts = home, seed, 0
        self.image = home / "image"
        self.fuse, self.root = home / "fuse", home / "root"
        self.disk = self.loop = None
        self.fuse.mkdir()
        self.root.mkdir()
        with self.image.open("wb") as image:
            image.truncate(SIZE)
        run("mkfs.ext4", "-q", "-F", self.image)

    def boot(self):
        """Disk, loop device, fsck, mount; gives what fsck had to say."""
        self.starts += 1
        command = [sys.executable, Path(__file__).parent / "disk.py", self.fuse, self.image, f"{self.seed} {self.starts}"]
        self.disk = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.disk.stdout.readline() != "ready\n":
            raise Fault("the disk does not start")
        self.loop = run("losetup", "--find", "--show", self.fuse / "disk").strip()
        # Replays the journal; 1 is "corrected", more than that is damage that a person would have to look at.
        checked = subprocess.run(["e2fsck", "-f", "-p", self.loop], capture_output=True, text=True, check=False)
        if checked.returncode > 1:
            raise Fault(f"e2fsck: {checked.returncode}: {checked.stdout}{checked.stderr}")
        run("mount", "-t", "ext4", self.loop, self.root)

    def cut(self):
        """The power goes. Gives the numbers of writes held back, of those that survived, and of flushes before."""
        self.disk.stdin.write("cut\n")
        self.disk.stdin.flush()
        return tuple(map(int, self.disk.stdout.readline().split()))

    def take_apart(self):
        """What is left of the machine after its processes are gone; nothing that it still writes arrives anywhere."""
        for _ in range(200):
            if not os.path.ismount(self.root) or subprocess.run(["umount", self.root], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.05)
        else:
            raise Fault("the file system cannot be unmounted")
        if self.loop:
            run("losetup", "--detach", self.loop)
            self.loop = None
        for _ in range(200):
            if not os.path.ismount(self.fuse) or subprocess.run(["umount", self.fuse], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.05)
        if self.disk:
            self.disk.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.disk.wait(10)
            self.disk.kill()
            self.disk.wait()
            self.disk.stdout.close()
            self.disk = None


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Fault(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
