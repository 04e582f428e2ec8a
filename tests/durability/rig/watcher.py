"""An IMAP session that was there before the blow: it learns of what came after, or is told to leave."""

import re

from appliance import PASSWORD, USERS, Fault
from load import Broken, Ledger, Wire


class Watcher:
    def __init__(self, appliance):
        self.appliance = appliance
        self.ledger = Ledger()
        self.wire = Wire(appliance.port["imap"], self.ledger)
        self.wire.line()
        self.seen = 0
        self.ask(f'LOGIN "{USERS[0]}" "{PASSWORD}"')
        self.ask("SELECT INBOX")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def ask(self, command):
        self.wire.send(f"a {command}\r\n".encode())
        while not (line := self.wire.line()).startswith(b"a "):
            if line.startswith(b"* BYE"):
                raise Broken
            if known := re.match(rb"\* (\d+) EXISTS", line):
                self.seen = int(known[1])
        return line

    def catches_up(self):
        """After the load has ended it sees what a new session sees."""
        fresh = Watcher(self.appliance)
        with fresh:
            try:
                said = self.ask("NOOP")
            except Broken:
                if self.ledger.hung:
                    raise Fault("a session that was there before hangs") from None
                return
            if not said.startswith(b"a OK") or self.seen != fresh.seen:
                raise Fault(f"a session that was there before sees {self.seen} messages of {fresh.seen}: {said}")
