"""Kills what stores mail, again and again, and counts what is left. See README.md."""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "rig"))

import watcher
from appliance import PATIENCE, Appliance, Fault, alive, end_cluster
from leaving import Full, Leaving, Takeover
from load import Ledger, Load
from power import Machine
from proof import prove


class Trial:
    """One kind of blow, round after round on one data folder."""

    def __init__(self, kind, home, seed):
        self.kind, self.seed = kind, seed
        self.chance = random.Random(f"{kind} {seed}")
        self.ledger, self.counted = Ledger(), 0
        self.slowest, self.extra = 0.0, Counter()
        self.appliance = Appliance(home, home / "data")

    def begin(self):
        self.appliance.settle()
        self.appliance.start()

    def load(self, number):
        load = Load(self.appliance, self.ledger, f"{self.kind}{self.seed}.{number}", f"{self.seed} {number}")
        time.sleep(self.chance.uniform(0.4, 2.5))
        return load

    def round(self, number):
        before = len(self.ledger.acknowledged) + self.counted
        recovery = getattr(self, self.kind)(self.load(number))
        acknowledged, found, extra = prove(self.appliance, self.ledger, self.counted)
        self.appliance.check()
        self.slowest = max(self.slowest, recovery)
        fresh = extra - self.extra
        self.extra = extra
        told = ", ".join(f"{count} × {what}" for what, count in sorted(fresh.items())) or "none"
        print(
            f"{self.kind:10} {number:3}: acknowledged {acknowledged - before:5}, all {acknowledged:6}, found {found:6}, "
            f"recovered in {recovery:5.2f} s, present without acknowledgement: {told}",
            flush=True,
        )

    def server(self, load):
        """kill -9 of the server: PostgreSQL is left behind, and the next start takes it over."""
        orphan = self.appliance.postmaster()
        self.appliance.kill()
        if not alive(orphan):
            raise Fault("PostgreSQL was to be left behind, and is gone")
        self.counted += load.stop()
        seconds = self.appliance.start()
        if alive(orphan):
            raise Fault(f"the PostgreSQL left behind (process {orphan}) still runs")
        return seconds

    def both(self, load):
        """kill -9 of the server and of PostgreSQL's postmaster at once; now and then another of the server while it starts."""
        postmaster = self.appliance.postmaster()
        os.kill(postmaster, signal.SIGKILL)
        self.appliance.kill()
        self.counted += load.stop()
        while self.chance.random() < 0.4:
            self.appliance.launch()
            time.sleep(self.chance.uniform(0.0, 0.6))
            self.appliance.kill()
        return self.appliance.start()

    def postgres(self, load):
        """kill -9 of PostgreSQL's postmaster: the server stays and mail flows again by itself."""
        with watcher.Watcher(self.appliance) as session:
            postmaster, pid = self.appliance.postmaster(), self.appliance.server.pid
            os.kill(postmaster, signal.SIGKILL)
            struck = time.monotonic()
            # What a dying backend still committed in these milliseconds does not count as recovered.
            while alive(postmaster) or not self.revived(postmaster):
                patient(struck, "PostgreSQL was not started again")
            back = time.monotonic()
            while self.ledger.last_acknowledged < back:
                patient(struck, "nothing was acknowledged any more")
            seconds = self.ledger.last_acknowledged - struck
            time.sleep(0.3)
            self.counted += load.stop()
            if self.appliance.server.poll() is not None or self.appliance.server.pid != pid:
                raise Fault("the server was to stay")
            session.catches_up()
        return seconds

    def revived(self, old):
        try:
            return self.appliance.postmaster() != old
        except (OSError, ValueError):
            return False

    def clean_up(self):
        self.appliance.clean_up()

    def end(self, rounds):
        self.appliance.stop()
        print(
            f"{self.kind:10} {rounds} rounds: {len(self.ledger.acknowledged) + self.counted} acknowledged, none lost, none twice, "
            f"slowest recovery {self.slowest:.2f} s; refusals on the way: {dict(self.ledger.refusals) or 'none'}",
            flush=True,
        )


class PowerCut(Trial):
    """The disk beneath loses power, with the data folder on it."""

    def __init__(self, kind, home, seed):
        super().__init__(kind, home, seed)
        self.machine = Machine(home, seed)
        self.appliance = Appliance(home, self.machine.root / "data")
        self.held = self.survived = self.flushes = 0

    def begin(self):
        self.machine.boot()
        super().begin()

    def power(self, load):
        held, survived, flushes = self.machine.cut()
        # From here on nothing can be stored. Clients are still answered, and nothing may be acknowledged to them.
        time.sleep(0.3)
        self.appliance.kill()
        self.counted += load.stop()
        end_cluster(self.appliance.data, signal.SIGKILL)
        self.machine.take_apart()
        self.held, self.survived, self.flushes = self.held + held, self.survived + survived, self.flushes + flushes
        began = time.monotonic()
        self.machine.boot()
        self.appliance.start()
        return time.monotonic() - began

    def end(self, rounds):
        super().end(rounds)
        print(f"{self.kind:10} {self.flushes} flushes; {self.held} writes held at the cuts, of which {self.survived} survived", flush=True)

    def clean_up(self):
        super().clean_up()
        self.machine.take_apart()


def patient(since, otherwise):
    if time.monotonic() - since > PATIENCE:
        raise Fault(otherwise)
    time.sleep(0.005)


def main():
    parser = argparse.ArgumentParser(prog="tests/durability/run", description=__doc__)
    parser.add_argument("kinds", nargs="*", default=["server", "postgres", "both"], help="server, postgres, both, queue, takeover, full, power")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the moments of the blows, as far as they depend on us")
    arguments = parser.parse_args()
    # Also when told to end, nothing is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed = 0
    print(f"seed {arguments.seed}", flush=True)
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory(prefix="posthorn-durability.", ignore_cleanup_errors=True) as home:
            # PostgreSQL's user must be able to pass through.
            os.chmod(home, 0o711)
            trial = made(kind, Path(home), arguments.seed)
            try:
                trial.begin()
                for number in range(1, arguments.rounds + 1):
                    trial.round(number)
                trial.end(arguments.rounds)
            except Fault as fault:
                failed += 1
                print(f"FAIL {kind}: {fault}\n--- the server's log ends:\n{trial.appliance.tail()}", flush=True)
            finally:
                trial.clean_up()
    return 1 if failed else 0


def made(kind, home, seed):
    if kind in ("server", "postgres", "both"):
        return Trial(kind, home, seed)
    if kind in (leaving := {"queue": Leaving, "takeover": Takeover, "full": Full}):
        return leaving[kind](home, seed)
    if kind == "power":
        return PowerCut(kind, home, seed)
    raise SystemExit(f"there is no kind {kind}")


if __name__ == "__main__":
    sys.exit(main())
