"""A real `posthorn serve` with a private PostgreSQL, to be killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

HOST = "127.0.0.1"
DOMAIN = "durability.example"
USERS = [f"u{number}@{DOMAIN}" for number in range(6)]
# smtp-source's own: what it had acknowledged is known as a number only.
COUNTED = USERS[-1]
PASSWORD = "correct-horse-battery"
# Crash recovery and a machine that does other things at the same time; no server needs so long to answer.
PATIENCE = 60

SPOKEN = ("smtp", "lmtp", "imap")


class Fault(Exception):
    """What must hold does not hold."""


class Appliance:
    def __init__(self, home, data, more="", database=""):
        self.home, self.data = home, data
        self.config, self.log = home / "posthorn.toml", home / "server.log"
        self.port = dict(zip(SPOKEN, free_ports(len(SPOKEN))))
        self.server = None
        text = (
            f'[server]\nhostname = "mx.{DOMAIN}"\ndata = "{data}"\n{database}\n'
            "[limits]\nsessions_per_address = 0\n\n[checks]\nenable = false\n[filter]\nenable = false\n\n[imap]\nsessions_per_account = 0\n"
        )
        for name in SPOKEN:
            text += f'\n[[listener]]\nname = "{name}"\nspeaks = "{name}"\nlisten = ["{HOST}:{self.port[name]}"]\n'
            text += '[[listener.peer]]\nnetwork = "127.0.0.0/8"\nrequire_tls = false\n'
            # Where mail goes on from here, these clients may send it.
            text += "relay = true\n" if more and name == "smtp" else ""
        self.config.write_text(text + more)

    def command(self, *arguments, text=""):
        """Runs one of the program's commands; gives what it printed."""
        command = [os.environ["POSTHORN"], "--config", self.config, *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise Fault(f"posthorn {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def settle(self):
        """The domain and its accounts."""
        self.command("domain", "add", DOMAIN)
        for user in USERS:
            self.command("account", "add", user, "--password-stdin", text=PASSWORD + "\n")

    def launch(self):
        with self.log.open("ab") as out:
            command = [os.environ["POSTHORN"], "--config", self.config, "serve"]
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def start(self):
        """Starts the server; gives the seconds until each listener greets."""
        began = time.monotonic()
        self.launch()
        for port in self.port.values():
            while not greets(port):
                if self.server.poll() is not None:
                    raise Fault(f"the server ended with {self.server.returncode}: {self.tail()}")
                if time.monotonic() - began > PATIENCE:
                    raise Fault(f"no greeting within {PATIENCE} s: {self.tail()}")
                time.sleep(0.005)
        return time.monotonic() - began

    def kill(self):
        self.server.kill()
        self.server.wait()

    def stop(self):
        """Asks it to stop; it must, and take its PostgreSQL along."""
        postmaster = self.postmaster()
        self.server.send_signal(signal.SIGTERM)
        status = self.server.wait(PATIENCE)
        if status != 0 or alive(postmaster):
            raise Fault(f"asked to stop, the server ended with {status}, PostgreSQL lives: {alive(postmaster)}: {self.tail()}")
        if b"panicked at" in self.log.read_bytes():
            raise Fault("the server panicked: " + self.tail())

    def postmaster(self):
        """The process id of the private PostgreSQL."""
        [file] = self.data.glob("*/postmaster.pid")
        return int(file.read_text().split("\n", 1)[0])

    def check(self):
        """`posthorn check` must find nothing."""
        report = json.loads(self.command("--json", "check"))
        if not report["ok"] or report["findings"]:
            raise Fault(f"posthorn check: {report}")
        return report["invariants"]

    def tail(self):
        return self.log.read_text(errors="replace")[-4000:]

    def clean_up(self):
        """Nothing that we started stays, whatever happened."""
        if self.server and self.server.poll() is None:
            self.server.kill()
            self.server.wait()
        end_cluster(self.data, signal.SIGQUIT)


def end_cluster(data, how):
    """Ends the PostgreSQL that works below this data folder, and waits for all its processes."""
    end = time.monotonic() + PATIENCE
    while found := backends(data):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        if time.monotonic() > end:
            raise Fault("PostgreSQL's processes do not end")
        time.sleep(0.02)


def backends(data):
    """The processes that work below this data folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(entry / "cwd").startswith(str(data) + "/"):
                    found.append(int(entry.name))
    return found


def alive(pid):
    """Whether the process runs; one that only waits to be reaped does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def greets(port):
    try:
        with socket.create_connection((HOST, port), timeout=5) as one:
            return bool(one.recv(1))
    except OSError:
        return False


def free_ports(count):
    """Ports that nobody has just now."""
    held = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
