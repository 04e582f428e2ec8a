"""The client of the scenarios, on every host as `scenario-mail`: it sends, reads, loads and looks for open ports.

Everything has a time-out: a host that was cut off answers nothing, and no scenario may wait for it for ever.
"""

import argparse
import asyncio
import hashlib
import imaplib
import random
import smtplib
import socket
import ssl
import sys
import time
from email.message import EmailMessage

PATIENCE = 20
PASSWORD = "correct horse"


def trusting():
    """The certificates of these hosts are their own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def message(sender, recipient, subject):
    """A message that is like no other."""
    text = EmailMessage()
    text["From"], text["To"], text["Subject"] = sender, recipient, subject
    text["Message-ID"] = f"<{random.getrandbits(64):016x}@scenario.test>"
    text.set_content("Noted.\n")
    return text


def deliver(args):
    """One message to port 25, as another server would bring it."""
    text = message(args.sender, args.to, args.subject)
    if args.attach:
        text.add_attachment(b"MZ" + bytes(62), maintype="application", subtype="octet-stream", filename=args.attach)
    with smtplib.SMTP(args.host, args.port or 25, timeout=PATIENCE) as smtp:
        smtp.send_message(text, args.sender, [args.to])
    print(text["Message-ID"])


def submit(args):
    """One message from somebody who logs in."""
    text = message(args.user, args.to, args.subject)
    with smtplib.SMTP_SSL(args.host, args.port or 465, timeout=PATIENCE, context=trusting()) as smtp:
        smtp.login(args.user, args.password)
        smtp.send_message(text, args.user, [args.to])
    print(text["Message-ID"])


def mailbox(args, readonly=True):
    """A session that looks at INBOX."""
    imap = imaplib.IMAP4_SSL(args.host, args.port or 993, timeout=PATIENCE, ssl_context=trusting())
    imap.login(args.user, args.password)
    imap.select("INBOX", readonly=readonly)
    return imap


def count(args):
    """How many messages INBOX holds, all or of one subject."""
    imap = mailbox(args)
    criteria = ["SUBJECT", f'"{args.subject}"'] if args.subject else ["ALL"]
    status, found = imap.search(None, *criteria)
    assert status == "OK", found
    print(len(found[0].split()))
    imap.logout()


def mark(args):
    """Flags the first message of INBOX, and files a copy of it."""
    imap = mailbox(args, readonly=False)
    for status, answer in (imap.store("1", "+FLAGS", r"(\Flagged \Seen $Later)"), imap.create("Kept"), imap.copy("1", "Kept")):
        assert status == "OK", answer
    imap.logout()


def digest(args):
    """How many messages there are, and one hash of all: folders, UIDs, flags, dates and octets."""
    imap = mailbox(args)
    found, total = hashlib.sha256(), 0
    for folder in sorted(row.decode().rpartition(" ")[2] for row in imap.list()[1]):
        status, answer = imap.select(folder, readonly=True)
        assert status == "OK", answer
        if answer == [b"0"]:
            continue
        status, answer = imap.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
        assert status == "OK", answer
        found.update(folder.encode() + repr(imap.response("UIDVALIDITY")).encode())
        for row in answer:
            if isinstance(row, tuple):
                found.update(row[0] + row[1])
                total += 1
    imap.logout()
    print(total, found.hexdigest())


def load(args):
    """Messages one after the other; those that were acknowledged are written down, the others tried again."""
    end = time.monotonic() + args.seconds
    taken, refused, worst, smtp = 0, 0, 0.0, None
    with open(args.log, "a", buffering=1, encoding="ascii") as log:
        text = message(args.sender, args.to, "load")
        began = time.monotonic()
        while time.monotonic() < end:
            try:
                smtp = smtp or smtplib.SMTP(args.host, args.port or 25, timeout=PATIENCE)
                smtp.send_message(text, args.sender, [args.to])
            except (OSError, smtplib.SMTPException):
                refused += 1
                smtp = smtp and smtp.close()
                time.sleep(0.1)
                continue
            log.write(f"{text['Message-ID']}\n")
            taken += 1
            worst = max(worst, time.monotonic() - began)
            text = message(args.sender, args.to, "load")
            began = time.monotonic()
    print(f"{taken} acknowledged, {refused} failures, longest wait {worst:.1f} s")


def compare(args):
    """Whether INBOX holds everything that was acknowledged."""
    with open(args.log, encoding="ascii") as log:
        acknowledged = log.read().split()
    imap = mailbox(args)
    status, found = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    assert status == "OK", found
    stored = [row[1].decode("ascii").partition(":")[2].strip() for row in found if isinstance(row, tuple)]
    imap.logout()
    lost = set(acknowledged) - set(stored)
    twice = len(stored) - len(set(stored))
    print(f"{len(acknowledged)} acknowledged, {len(stored)} stored, {len(lost)} lost, {twice} twice")
    sys.exit(1 if lost or not acknowledged else 0)


def stay(args):
    """One IMAP session that is used every second; it fails when it is cut."""
    imap = mailbox(args)
    for _ in range(args.seconds):
        status, answer = imap.noop()
        assert status == "OK", answer
        time.sleep(1)
    imap.logout()
    print("stayed")


def visit(args):
    """One new connection after the other; each must be greeted, however long that takes, or say that it goes away."""
    end = time.monotonic() + args.seconds
    greeted, sent_away, refused, worst = 0, 0, 0, 0.0
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            with socket.create_connection((args.host, args.port or 25), PATIENCE) as connection:
                line = connection.makefile("rb").readline()
        except OSError:
            line = b""
        greeted += line.startswith(b"220")
        sent_away += line.startswith(b"421")
        refused += not line
        worst = max(worst, time.monotonic() - began)
        time.sleep(0.01)
    print(f"{greeted} greeted, longest wait {worst:.1f} s, {sent_away} sent away, {refused} refused")


class Sink:
    """A server that takes everything, and writes down the subjects."""

    def __init__(self, log):
        self.log = log

    async def serve(self, reader, writer):
        """One session."""
        writer.write(b"220 sink\r\n")
        data = False
        while line := await reader.readline():
            if data:
                if line.startswith(b"Subject:"):
                    self.log.write(line.decode("ascii", "replace"))
                data = line != b".\r\n"
                reply = None if data else b"250 taken\r\n"
            else:
                verb = line[:4].upper()
                data = verb == b"DATA"
                reply = {b"DATA": b"354 go on\r\n", b"QUIT": b"221 goodbye\r\n"}.get(verb, b"250 well\r\n")
            if reply:
                writer.write(reply)
                await writer.drain()
        writer.close()


async def take(port, log):
    """Serves until somebody ends it, by IPv4 and IPv6."""
    server = await asyncio.start_server(Sink(log).serve, None, port)
    await server.serve_forever()


def receive(args):
    """Another server that takes mail."""
    with open(args.log, "a", buffering=1, encoding="ascii") as log:
        asyncio.run(take(args.port or 25, log))


async def is_open(address, family, limit):
    """Whether somebody answers there."""
    async with limit:
        try:
            opening = asyncio.open_connection(address[0], address[1], family=family)
            _, writer = await asyncio.wait_for(opening, 2)
        except (OSError, asyncio.TimeoutError):
            return None
        writer.close()
        return address[1]


async def look(host, family, ports):
    """The open ones among these ports."""
    limit = asyncio.Semaphore(500)
    address = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)[0][4][0]
    answers = await asyncio.gather(*(is_open((address, port), family, limit) for port in ports))
    return [port for port in answers if port]


def scan(args):
    """The open ports of a host, in one family of addresses."""
    first, _, last = args.ports.partition("-")
    family = socket.AF_INET6 if args.family == 6 else socket.AF_INET
    ports = range(int(first), int(last or first) + 1)
    print(*asyncio.run(look(args.host, family, ports)))


def main():
    """One command for each of the functions above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["deliver", "submit", "count", "mark", "digest", "load", "compare", "stay", "visit", "receive", "scan"])
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--from", dest="sender", default="ben@elsewhere.test")
    parser.add_argument("--to", default="anna@example.org")
    parser.add_argument("--user", default="anna@example.org")
    parser.add_argument("--password", default=PASSWORD)
    parser.add_argument("--subject", default="")
    parser.add_argument("--attach", metavar="NAME")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--log", default="/tmp/acknowledged")
    parser.add_argument("--family", type=int, choices=[4, 6], default=4)
    parser.add_argument("--ports", default="1-12000")
    args = parser.parse_args()
    globals()[args.command](args)


if __name__ == "__main__":
    main()
