"""Mail that leaves: what was acknowledged reaches the next host, whatever is killed on the way."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

from appliance import DOMAIN, PATIENCE, Appliance, Fault, alive
from load import Broken, Ledger, Wire, message

# Recipients of others, all behind the sink.
DOMAINS = [f"d{number}.example" for number in range(8)]
SENDERS = 6
# Of a process that is gone; claims of it are void afterwards.
LEASE = 5
# A remote 250 whose record was not committed yet when the blow fell: how long before it may have come.
WINDOW = 2.0
# Of the file system that fills up.
SIZE = "400m"


class Receiver:
    """The sink as a process of its own."""

    def __init__(self, home):
        self.file = home / "sink.log"
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).parent / "sink.py", self.file], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline())

    def taken(self):
        """When each message was taken for each recipient: times by (Message-ID, recipient)."""
        times = defaultdict(list)
        for line in self.file.read_text().splitlines():
            when, ident, recipient = line.split(" ")
            times[ident, recipient].append(float(when))
        return times

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Senders:
    """Sessions of our own, whose messages are known one by one, and smtp-source beside them, of which the number is."""

    def __init__(self, ports, ledger, name, seed):
        self.ledger, self.name = ledger, name
        self.over = threading.Event()
        self.threads = [
            threading.Thread(target=self.go_on, args=(ports[number % len(ports)], number, random.Random(f"{seed} {number}")), daemon=True)
            for number in range(SENDERS)
        ]
        for thread in self.threads:
            thread.start()
        command = ["smtp-source", "-c", "-d", "-s", "2", "-l", "2000", "-m", "1000000", "-f", f"source@{DOMAIN}"]
        self.source = subprocess.Popen(
            [*command, "-t", f"{name}@counted.example", f"127.0.0.1:{ports[0]}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def stop(self):
        """Ends it; gives how many messages smtp-source saw acknowledged at least."""
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.source.kill()
        counts = re.findall(rb"\d+", self.source.communicate()[0])
        # It counts a message when it has sent it, so that each session may have counted one without an answer.
        return max(0, int(counts[-1]) - 2) if counts else 0

    def go_on(self, port, number, chance):
        count = 0
        while not self.over.is_set():
            wire = None
            try:
                wire = Wire(port, self.ledger)
                wire.reply()
                wire.send(b"EHLO client.example\r\n")
                wire.reply()
                while not self.over.wait(0.004):
                    count += 1
                    self.one(wire, f"{self.name}.{number}.{count}@{DOMAIN}", chance)
            except Broken:
                self.over.wait(0.02)
            finally:
                if wire:
                    wire.close()

    def one(self, wire, ident, chance):
        users = [f"u{number}@{domain}" for number, domain in enumerate(chance.sample(DOMAINS, chance.choice((1, 1, 1, 2, 5))))]
        commands = [f"MAIL FROM:<s@{DOMAIN}>", *(f"RCPT TO:<{user}>" for user in users), "DATA"]
        wire.send("".join(command + "\r\n" for command in commands).encode())
        replies = [wire.reply() for _ in range(len(users) + 2)]
        if not replies[-1].startswith("354"):
            wire.send(b"RSET\r\n")
            wire.reply()
            return
        places = [(user, ident) for user, reply in zip(users, replies[1:]) if reply.startswith("25")]
        self.ledger.tried(places)
        wire.send(message(ident, chance) + b".\r\n")
        said = wire.reply()
        for place in places:
            self.ledger.told(place, said[:9], good=said.startswith("250"))


class Leaving:
    """kill -9 of the server, of PostgreSQL or of both while mail passes through; what was acknowledged leaves."""

    kind, tight = "queue", ""
    struck = ("server", "postgres", "both")

    def __init__(self, home, seed, data=None):
        self.seed = seed
        self.chance = random.Random(f"{self.kind} {seed}")
        self.ledger, self.counted, self.blows, self.known = Ledger(), Counter(), [], set()
        self.receiver = Receiver(home)
        self.more = onward(self.receiver.port) + self.tight
        self.appliance = self.reading = Appliance(home, data or home / "data", self.more)
        self.slowest = self.emptied = self.farthest = 0.0
        self.ahead = []

    def begin(self):
        self.appliance.start()

    def ports(self):
        return [self.appliance.port["smtp"]]

    def round(self, number):
        what = self.struck[(number - 1) % len(self.struck)]
        name = f"{self.kind}{self.seed}.{number}"
        before = len(self.ledger.acknowledged) + self.counted.total()
        senders = Senders(self.ports(), self.ledger, name, f"{self.seed} {number}")
        time.sleep(self.chance.uniform(0.4, 2.5))
        waiting = self.waiting()
        recovery = getattr(self, what)()
        if what in ("postgres", "full"):
            time.sleep(0.3)
        self.counted[f"{name}@counted.example"] = senders.stop()
        began = time.monotonic()
        self.wait_until_empty()
        emptied = time.monotonic() - began
        total, twice, unsure = self.prove()
        self.reading.check()
        self.after()
        self.slowest, self.emptied = max(self.slowest, recovery), max(self.emptied, emptied)
        told = f" (taken at most {max(twice) * 1000:.0f} ms before the blow)" if twice else ""
        print(
            f"{self.kind:10} {number:3}: {what:8} struck with {waiting:5} in the queue; acknowledged {total - before:5}, all {total:6}, "
            f"all reached the sink; unacknowledged but sent {unsure:3}; recovered in {recovery:5.2f} s, empty {emptied:5.2f} s later; "
            f"twice: {len(twice)}{told}",
            flush=True,
        )

    def waiting(self, *conditions):
        return json.loads(self.reading.command("--json", "queue", "list", "--count", *conditions))["count"]

    def strike(self, what):
        self.blows.append((time.monotonic(), what))

    def server(self):
        self.strike("server")
        self.appliance.kill()
        return self.appliance.start()

    def both(self):
        postmaster = self.appliance.postmaster()
        self.strike("both")
        os.kill(postmaster, signal.SIGKILL)
        self.appliance.kill()
        return self.appliance.start()

    def postgres(self):
        """The server stays: it remembers what it sent, so that nothing is sent twice."""
        postmaster = self.appliance.postmaster()
        struck = time.monotonic()
        self.strike("postgres")
        os.kill(postmaster, signal.SIGKILL)
        while alive(postmaster):
            patient(struck, "PostgreSQL does not die")
        gone = time.monotonic()
        while self.ledger.last_acknowledged < gone + 0.05:
            patient(struck, "nothing was acknowledged any more")
        return self.ledger.last_acknowledged - struck

    def wait_until_empty(self):
        """Nobody helps: what was in the hand of the dead comes back with the lease. What had to be put off is brought forward."""
        began, helped = time.monotonic(), False
        while left := self.waiting():
            patient(began, f"{left} deliveries stay in the queue")
            if not helped and time.monotonic() - began > 2 * LEASE:
                self.reading.command("queue", "retry", "--all")
                helped = True
            time.sleep(0.1)

    def prove(self):
        """Everything acknowledged was taken; what was taken twice is explained. Gives the numbers."""
        taken = self.receiver.taken()
        lost = [place for place in self.ledger.acknowledged if (place[1], place[0]) not in taken]
        by_recipient = Counter(recipient for _, recipient in taken)
        for recipient, count in self.counted.items():
            if by_recipient[recipient] < count:
                lost.append(f"{count - by_recipient[recipient]} of {count} of smtp-source's to {recipient}")
        foreign = [key for key in taken if key[1] not in self.counted and (key[1], key[0]) not in self.ledger.acknowledged
                   and (key[1], key[0]) not in self.ledger.unsure]
        for what, which in (("lost", lost), ("never sent", foreign), ("hung", self.ledger.hung)):
            if which:
                raise Fault(f"{what}: {len(which)}, such as {which[:5]}")
        twice = []
        for key, times in taken.items():
            if len(times) > 1 and (key, len(times)) not in self.known:
                self.known.add((key, len(times)))
                twice.append(self.explained(key, times[-2], times[-1]))
        unsure = sum((key[1], key[0]) in self.ledger.unsure for key in taken)
        self.ahead += twice
        return len(self.ledger.acknowledged) + self.counted.total(), twice, unsure

    def explained(self, key, first, second):
        """How long before a blow that hit the server it was taken for the first time."""
        # What was in the socket was still read after the blow.
        blows = [when for when, what in self.blows if what not in ("postgres", "full") and first - 0.2 <= when <= second]
        if not blows or blows[0] - first > WINDOW:
            raise Fault(f"{key} was sent twice without need: at {first:.3f} and {second:.3f}, blows were {self.blows[-5:]}")
        return max(0.0, blows[0] - first)

    def after(self):
        """What is left to do once everything has left."""

    def clean_up(self):
        self.appliance.clean_up()
        self.receiver.end()

    def end(self, rounds):
        self.appliance.stop()
        total = len(self.ledger.acknowledged) + self.counted.total()
        farthest = f", taken at most {max(self.ahead) * 1000:.0f} ms before a blow" if self.ahead else ""
        print(
            f"{self.kind:10} {rounds} rounds: {total} acknowledged, none lost, {len(self.ahead)} sent twice{farthest}; "
            f"slowest recovery {self.slowest:.2f} s, queue empty at most {self.emptied:.2f} s after; "
            f"refusals on the way: {dict(self.ledger.refusals) or 'none'}",
            flush=True,
        )


class Full(Leaving):
    """The file system with the data folder fills up for longer than a lease: clients are put off, nothing is lost or sent twice."""

    kind, struck = "full", ("full",)

    def __init__(self, home, seed):
        self.disk = home / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0711", "posthorn", self.disk], check=True)
        super().__init__(home, seed, self.disk / "data")

    def full(self):
        self.strike("full")
        ballast = self.disk / "ballast"
        refused = sum(self.ledger.refusals.values())
        began = time.monotonic()
        with ballast.open("wb", buffering=0) as file:
            # What PostgreSQL frees in between is taken as well.
            while time.monotonic() - began < PATIENCE:
                with contextlib.suppress(OSError):
                    while file.write(bytes(1 << 16)):
                        pass
                time.sleep(0.02)
                if time.monotonic() - max(began, self.ledger.last_acknowledged) > LEASE + 3:
                    break
            else:
                raise Fault("messages are still acknowledged on a full disk")
        if sum(self.ledger.refusals.values()) == refused:
            raise Fault("nobody was told of the full disk")
        ballast.unlink()
        freed = time.monotonic()
        while self.ledger.last_acknowledged < freed:
            patient(freed, "nothing was acknowledged any more")
        if self.appliance.server.poll() is not None:
            raise Fault(f"the server ended: {self.appliance.tail()}")
        return self.ledger.last_acknowledged - freed

    def clean_up(self):
        super().clean_up()
        subprocess.run(["umount", self.disk], check=True)


class Takeover(Leaving):
    """Two servers on one database: one is killed and stays dead, and what it had in hand leaves through the other."""

    # So slow that much is in hand at any time.
    kind, tight = "takeover", '\n[[delivery.domain]]\npattern = "."\nconnections = 3\n'
    struck = ("first",)

    def __init__(self, home, seed):
        super().__init__(home, seed)
        second = home / "second"
        (second / "data").mkdir(parents=True)
        socket = str(home / "data" / "run").replace("/", "%2F")
        database = f'\n[database]\nurl = "postgres://posthorn@{socket}:5432/posthorn"\n'
        self.second = Appliance(second, second / "data", self.more, database)
        # It lives through all of it, so it can always be asked.
        self.reading = self.second
        self.taken_over = 0

    def begin(self):
        super().begin()
        self.second.start()

    def ports(self):
        return [self.appliance.port["smtp"], self.second.port["smtp"]]

    def first(self):
        self.strike("first")
        self.appliance.kill()
        began = time.monotonic()
        time.sleep(0.5)
        self.taken_over += self.waiting("--state", "delivering")
        return time.monotonic() - began

    def after(self):
        """Its PostgreSQL was left behind, and starts again with it: the other one must live with that, too."""
        if self.second.server.poll() is not None:
            raise Fault(f"the second server ended with {self.second.server.returncode}: {self.second.tail()}")
        self.appliance.start()

    def clean_up(self):
        if self.second.server and self.second.server.poll() is None:
            self.second.kill()
        super().clean_up()

    def end(self, rounds):
        self.second.server.terminate()
        if self.second.server.wait(PATIENCE) != 0:
            raise Fault(f"the second server: {self.second.tail()}")
        super().end(rounds)
        print(f"{self.kind:10} deliveries in a hand half a second after the blows: {self.taken_over}", flush=True)


def onward(port):
    """Configuration by which everything goes to this port; names are asked of nobody."""
    return (
        f'\n[queue]\nlease = "{LEASE} s"\n\n[dns]\nservers = ["127.0.0.1:1"]\n\n[delivery]\ntls = "never"\n\n'
        f'[[route]]\nrecipients = ["*"]\nto = "smtp://127.0.0.1:{port}"\n'
    )


def patient(since, otherwise):
    if time.monotonic() - since > PATIENCE:
        raise Fault(otherwise)
    time.sleep(0.005)
