"""Load that remembers: every message has a Message-ID of its own, and what the server said of it is kept."""

import random
import re
import socket
import subprocess
import threading
import time

from appliance import COUNTED, DOMAIN, HOST, PASSWORD, USERS

RECIPIENTS = [user for user in USERS if user != COUNTED]
# How long a client waits for an answer before it calls the session hung.
ANSWER = 45
# Of smtp-source.
SESSIONS = 4


class Ledger:
    """What was tried and what was acknowledged, over all rounds."""

    def __init__(self):
        self.lock = threading.Lock()
        # (user, Message-ID) -> (UIDVALIDITY, UID), where an APPEND told them.
        self.acknowledged = {}
        # (user, Message-ID) -> what was answered instead of an acknowledgement; nothing when the connection broke.
        self.unsure = {}
        self.hung = []
        self.refusals = {}
        self.last_acknowledged = 0.0

    def tried(self, places):
        """Before the last octet goes out: from now on the message may be stored."""
        with self.lock:
            for place in places:
                self.unsure[place] = ""

    def told(self, place, said, uid=None, good=False):
        with self.lock:
            if good:
                del self.unsure[place]
                self.acknowledged[place] = uid
                self.last_acknowledged = time.monotonic()
            else:
                self.unsure[place] = said
                self.refusals[said] = self.refusals.get(said, 0) + 1


class Broken(Exception):
    """The connection is gone, which is what happens to clients of a killed server."""


class Wire:
    """Lines to and from a server."""

    def __init__(self, port, ledger):
        self.ledger = ledger
        try:
            self.socket = socket.create_connection((HOST, port), timeout=ANSWER)
        except OSError as error:
            raise Broken from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, octets):
        try:
            self.socket.sendall(octets)
        except OSError as error:
            raise Broken from error

    def line(self):
        try:
            line = self.file.readline()
        except TimeoutError as error:
            self.ledger.hung.append(f"no answer within {ANSWER} s")
            raise Broken from error
        except OSError as error:
            raise Broken from error
        if not line.endswith(b"\n"):
            raise Broken
        return line

    def reply(self):
        """An SMTP reply's last line."""
        while (line := self.line())[3:4] == b"-":
            pass
        return line.decode().strip()

    def tagged(self, tag=b"a "):
        """An IMAP command's outcome."""
        while not (line := self.line()).startswith(tag):
            if line.startswith(b"* BYE"):
                raise Broken
        return line.decode().strip()

    def close(self):
        self.file.close()
        self.socket.close()


class Load:
    """Senders that go on until told to stop, through whatever happens to the server."""

    def __init__(self, appliance, ledger, name, seed):
        self.appliance, self.ledger, self.name = appliance, ledger, name
        self.over = threading.Event()
        kinds = [(self.smtp, "smtp", 4), (self.smtp, "lmtp", 3), (self.append, "imap", 3)]
        self.threads = [
            threading.Thread(target=self.go_on, args=(work, kind, f"{kind}{number}", random.Random(f"{seed} {kind} {number}")), daemon=True)
            for work, kind, count in kinds
            for number in range(count)
        ]
        for thread in self.threads:
            thread.start()
        # A sender that we did not write beside them.
        command = ["smtp-source", "-c", "-d", "-s", str(SESSIONS), "-l", "3000", "-m", "1000000", "-f", f"source@{DOMAIN}", "-t", COUNTED]
        self.source = subprocess.Popen(
            [*command, f"{HOST}:{appliance.port['smtp']}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def stop(self):
        """Ends it; gives how many messages smtp-source saw acknowledged at least."""
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.source.kill()
        counts = re.findall(rb"\d+", self.source.communicate()[0])
        # It counts a message when it has sent it, so that each session may have counted one without an answer.
        return max(0, int(counts[-1]) - SESSIONS) if counts else 0

    def go_on(self, work, kind, name, chance):
        count = 0
        while not self.over.is_set():
            wire = None
            try:
                wire = Wire(self.appliance.port[kind], self.ledger)
                for count in work(wire, kind, f"{self.name}.{name}", chance, count):
                    # Two cores are all there is: leave some to the server.
                    if self.over.wait(0.004):
                        break
            except Broken:
                self.over.wait(0.02)
            finally:
                if wire:
                    wire.close()

    def smtp(self, wire, kind, name, chance, count):
        wire.reply()
        wire.send((b"LHLO" if kind == "lmtp" else b"EHLO") + b" client.example\r\n")
        wire.reply()
        while True:
            count += 1
            ident = f"{name}.{count}@{DOMAIN}"
            users = chance.sample(RECIPIENTS, chance.choice((1, 1, 1, 2, 3)))
            places = [(user, ident) for user in users]
            commands = [f"MAIL FROM:<{name}@{DOMAIN}>", *(f"RCPT TO:<{user}>" for user in users), "DATA"]
            wire.send("".join(command + "\r\n" for command in commands).encode())
            replies = [wire.reply() for _ in range(len(users) + 2)]
            good = [place for place, reply in zip(places, replies[1:]) if reply.startswith("25")]
            if not replies[-1].startswith("354"):
                wire.send(b"RSET\r\n")
                wire.reply()
                yield count
                continue
            self.ledger.tried(good)
            wire.send(message(ident, chance) + b".\r\n")
            # RFC 2033 §4.2: LMTP answers for each recipient, SMTP once for all.
            said = [wire.reply() for _ in good] if kind == "lmtp" else [wire.reply()] * len(good)
            for place, one in zip(good, said):
                self.ledger.told(place, one[:9], good=one.startswith("250"))
            yield count

    def append(self, wire, _kind, name, chance, count):
        user = chance.choice(RECIPIENTS)
        wire.line()
        wire.send(f'a LOGIN "{user}" "{PASSWORD}"\r\n'.encode())
        if not wire.tagged().startswith("a OK"):
            raise Broken
        while True:
            count += 1
            ident = f"{name}.{count}@{DOMAIN}"
            octets = message(ident, chance)
            wire.send(b"a APPEND INBOX {%d}\r\n" % len(octets))
            if not wire.line().startswith(b"+"):
                raise Broken
            self.ledger.tried([(user, ident)])
            wire.send(octets + b"\r\n")
            said = wire.tagged()
            known = re.match(r"a OK \[APPENDUID (\d+) (\d+)\]", said)
            uid = (int(known[1]), int(known[2])) if known else None
            self.ledger.told((user, ident), " ".join(said.split()[1:3]), uid, bool(known))
            yield count


def message(ident, chance):
    line = b"Each line of this text says the same, and none of them begins with a dot.\r\n"
    head = f"From: <sender@{DOMAIN}>\r\nSubject: {ident}\r\nMessage-ID: <{ident}>\r\nDate: Mon, 02 Jan 2023 10:00:00 +0000\r\n\r\n"
    return head.encode() + line * chance.choice((1, 20, 60, 130, 400))
