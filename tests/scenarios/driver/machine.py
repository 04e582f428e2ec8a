"""One host: a container with systemd, and as much of the NixOS test driver's machine as the scenarios may use."""

import json
import shlex
import subprocess
import time

# Shorter than that of NixOS, whose machines are slower to boot.
PATIENCE = 120
INIT = "mount --make-rshared / && exec /sbin/init"
# What systemd needs to sandbox its units; without the second line every one of them ends with 226/NAMESPACE.
RIGHTS = [
    "--cap-add=SYS_ADMIN,NET_ADMIN,SYS_PTRACE,SYS_NICE,IPC_LOCK,DAC_READ_SEARCH",
    "--security-opt=seccomp=unconfined",
    "--security-opt=unmask=ALL",
]


class Failure(Exception):
    """What a host did is not what was asked for."""


class Machine:
    """A host by its name; `engine` runs podman, `place` has its addresses."""

    def __init__(self, name, engine, place):
        self.name = name
        self.engine = engine
        self.place = place
        self.container = f"{place.network}-{name}"
        self.running = False

    # The part of the driver's interface that scenarios may use.

    def start(self):
        """Boots the host, or boots it again."""
        if self.running:
            return
        self.engine("start", self.container)
        self.running = True
        self.wait_until_succeeds("systemctl is-system-running 2>/dev/null | grep -e running -e degraded", timeout=60)

    def execute(self, command, timeout=PATIENCE):
        """Exit code and output of a command in the host's shell."""
        shell = ["exec", self.container, "timeout", str(timeout), "bash", "-c", f"set -euo pipefail; {command}"]
        done = self.engine(*shell, check=False, timeout=timeout + 30)
        return done.returncode, done.stdout

    def succeed(self, *commands, timeout=PATIENCE):
        """The output of commands that must succeed."""
        output = ""
        for command in commands:
            status, text = self.execute(command, timeout)
            if status != 0:
                raise Failure(f"{self.name}: {command}: exit code {status}\n{text}")
            output += text
        return output

    def fail(self, *commands, timeout=PATIENCE):
        """The output of commands that must fail."""
        output = ""
        for command in commands:
            status, text = self.execute(command, timeout)
            if status == 0:
                raise Failure(f"{self.name}: {command}: succeeded\n{text}")
            output += text
        return output

    def wait_until_succeeds(self, command, timeout=PATIENCE):
        """The output of a command once it succeeds."""
        return self._until(command, timeout, lambda status: status == 0)

    def wait_until_fails(self, command, timeout=PATIENCE):
        """The output of a command once it fails."""
        return self._until(command, timeout, lambda status: status != 0)

    def wait_for_unit(self, unit, timeout=PATIENCE):
        """Waits for an active unit; one that failed will not come."""
        end, idle = time.monotonic() + timeout, 0
        while True:
            _, text = self.execute(f"systemctl show --property ActiveState,Job {shlex.quote(unit)}")
            state = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
            if state.get("ActiveState") == "active":
                return
            idle = idle + 1 if state.get("ActiveState") == "inactive" and state.get("Job", "0") in ("", "0") else 0
            # One that nobody starts will not come either; a few looks, as between two jobs there is none.
            if state.get("ActiveState") == "failed" or idle > 20 or time.monotonic() > end:
                _, log = self.execute(f"systemctl status --no-pager --lines 30 {shlex.quote(unit)} || true")
                raise Failure(f"{self.name}: {unit} is {state}\n{log}")
            time.sleep(0.3)

    def wait_for_open_port(self, port, addr="localhost", timeout=PATIENCE):
        """Waits until the host itself can connect to a port."""
        self.wait_until_succeeds(f"nc -z {addr} {port}", timeout)

    def wait_for_closed_port(self, port, addr="localhost", timeout=PATIENCE):
        """Waits until it cannot any more."""
        self.wait_until_fails(f"nc -z {addr} {port}", timeout)

    def systemctl(self, command):
        """Exit code and output of systemctl."""
        return self.execute(f"systemctl {command}")

    def shutdown(self):
        """Shuts the host down in order."""
        self.engine("stop", "--time", "90", self.container)
        self.running = False

    def crash(self):
        """The host is gone from one moment to the next; what it wrote to its disk stays."""
        self.engine("kill", "--signal", "KILL", self.container)
        self.engine("wait", self.container, check=False)
        self.running = False

    def block(self):
        """Takes the cable out: addresses and routes stay."""
        self._cable("down")

    def unblock(self):
        """Puts it in again."""
        self._cable("up")

    # What the driver itself needs.

    def create(self, image, mounts):
        """Makes the container, not yet started."""
        options = ["--name", self.container, "--hostname", self.name, "--systemd=always", "--network", self.place.network]
        options += ["--ip", self.place.address(self.name, 4), "--ip6", self.place.address(self.name, 6)]
        # A host that comes back with another hardware address is not found by its peers for a while.
        options += ["--mac-address", self.place.hardware(self.name), "--memory", "1500m", "--pids-limit", "500"]
        options += [option for line in self.place.hosts() for option in ("--add-host", line)]
        options += [option for source, target in mounts for option in ("--volume", f"{source}:{target}:ro")]
        self.engine("create", *options, *RIGHTS, image, "/bin/sh", "-c", INIT)

    def put(self, files):
        """Writes files into a container that does not run yet, with their modes."""
        self.engine.copy(self.container, files)

    def remove(self):
        """Leaves nothing of it."""
        self.engine("rm", "--force", "--time", "0", "--volumes", self.container, check=False)

    def _until(self, command, timeout, good):
        end = time.monotonic() + timeout
        while True:
            status, text = self.execute(command, timeout)
            if good(status):
                return text
            if time.monotonic() > end:
                raise Failure(f"{self.name}: {command}: still exit code {status} after {timeout} s\n{text}")
            time.sleep(0.5)

    def _cable(self, state):
        pid = self.engine("inspect", "--format", "{{.State.Pid}}", self.container).stdout.strip()
        shown = subprocess.run(["nsenter", "-t", pid, "-n", "ip", "-j", "link", "show", "eth0"], check=True, capture_output=True)
        peer = json.loads(shown.stdout)[0]["link_index"]
        links = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout)
        name = next(link["ifname"] for link in links if link["ifindex"] == peer)
        subprocess.run(["ip", "link", "set", name, state], check=True)
