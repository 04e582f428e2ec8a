"""What the interop tests share: the server's addresses, its accounts, messages that get lost on careless ways."""

import contextlib
import email.utils
import imaplib
import os
import re
import shlex
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOST = os.environ["HOST"]
TLSNAME = os.environ["TLSNAME"]
CAFILE = os.environ["CAFILE"]
SMTP_PORT = int(os.environ["SMTP_PORT"])
SUBMISSION_PORT = int(os.environ["SUBMISSION_PORT"])
SUBMISSIONS_PORT = int(os.environ["SUBMISSIONS_PORT"])
LMTP_PORT = int(os.environ["LMTP_PORT"])
IMAP_PORT = int(os.environ["IMAP_PORT"])
IMAPS_PORT = int(os.environ["IMAPS_PORT"])
PASSWORD = os.environ["ACCOUNT_PASS"]
# Every account has these from the start.
FOLDERS = {"INBOX": None, "Archive": "\\Archive", "Drafts": "\\Drafts", "Junk": "\\Junk", "Sent": "\\Sent", "Trash": "\\Trash"}

# SEARCH answers of a full mailbox are long lines.
imaplib._MAXLINE = 10_000_000


def user(number):
    """The address of an account; each test file has its own numbers (see README.md)."""
    return os.environ["USERFMT"] % number


def tls():
    """Trusts the server's certificate and nothing else."""
    return ssl.create_default_context(cafile=CAFILE)


class Imap(imaplib.IMAP4_SSL):
    """imaplib by TLS and logged in. Answers are checked: `ok` returns the data of an OK and fails otherwise."""

    def __init__(self, number, port=IMAPS_PORT):
        super().__init__(TLSNAME, port, ssl_context=tls(), timeout=60)
        self.login(user(number), PASSWORD)

    def ok(self, name, *arguments):
        status, data = getattr(self, name)(*arguments)
        assert status == "OK", f"{name} {arguments}: {status} {data}"
        return data

    def octets(self, uid):
        """The whole message, byte for byte."""
        return self.ok("uid", "FETCH", str(uid), "(BODY.PEEK[])")[0][1]

    def uids(self, *criteria):
        return [int(uid) for uid in self.ok("uid", "SEARCH", *(criteria or ("ALL",)))[0].split()]

    def flags(self, uid):
        """The flags but \\Recent, which sessions race for."""
        answer = self.ok("uid", "FETCH", str(uid), "(FLAGS)")[0]
        answer = answer if isinstance(answer, bytes) else answer[0]
        found = re.search(rb"FLAGS \(([^)]*)\)", answer)
        assert found, answer
        return set(found[1].decode().split()) - {"\\Recent"}

    def status_of(self, mailbox, *items):
        answer = self.ok("status", mailbox, f"({' '.join(items)})")[0]
        numbers = re.search(rb"\(([^()]*)\)\s*$", answer)[1].split()
        return {key.decode(): int(value) for key, value in zip(numbers[::2], numbers[1::2])}


def deliver(number, *messages):
    """Delivers by LMTP, one message after the other."""
    with smtplib.LMTP(HOST, LMTP_PORT, timeout=60) as lmtp:
        for octets in messages:
            refused = lmtp.sendmail("sender@elsewhere.example", [user(number)], octets, ["BODY=8BITMIME"])
            assert not refused, refused


def message(subject, body=b"Hello.\r\n", **fields):
    """A message with CRLF line ends. `fields` are further header fields, `_` stands for a hyphen."""
    head = {
        "From": "Sender <sender@elsewhere.example>",
        "To": "Somebody <somebody@example.org>",
        "Subject": subject,
        "Date": "Thu, 01 Jan 2026 10:00:00 +0000",
        "Message-ID": email.utils.make_msgid(domain="interop.example"),
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items() if value is not None)
    return lines.encode() + b"\r\n" + body


def awkward():
    """Messages that a program or server may damage, by name."""
    octet = bytes(value for value in range(128, 256))
    plain = {"MIME_Version": "1.0", "Content_Type": "text/plain; charset=utf-8", "Content_Transfer_Encoding": "8bit"}
    mixed = {"MIME_Version": "1.0", "Content_Type": 'multipart/mixed; boundary="=_x"'}
    return {
        "dots": message("dots", b".\r\n..\r\n.dot\r\n...three\r\n.\r\n"),
        "utf8": message("utf8", "Grüße, 挨拶, привет\r\n".encode(), **plain),
        "latin1": message("latin1", b"Gr\xfc\xdfe\r\n" + octet + b"\r\n", **{**plain, "Content_Type": "text/plain; charset=iso-8859-1"}),
        "spaces": message("spaces", b"trailing \r\n\ttab\t\r\n \r\n\r\n\r\n"),
        "long": message("long", b"x" * 990 + b"\r\n" + b"=" * 900 + b"\r\n"),
        "empty": message("empty", b""),
        "unended": message("unended", b"no line end"),
        "from": message("from", b"From here it was an mbox trap\r\n>From too\r\n"),
        "folded": message("a subject\r\n that is folded\r\n\tthree times", b"body\r\n"),
        "multipart": message("multipart", b"preamble\r\n--=_x\r\n\r\none\r\n--=_x\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQ=\r\n--=_x--\r\nepilogue\r\n", **mixed),
        "big": message("big", (b"0123456789abcdef" * 4 + b"\r\n") * 20000),
    }


def bare(octets):
    """As delivered: without the trace fields that a server puts on top."""
    while re.match(rb"(?i)(received|return-path|delivered-to):", octets):
        octets = re.sub(rb"\A[^\r\n]*\r\n([ \t][^\r\n]*\r\n)*", b"", octets)
    return octets


def unfolded(octets):
    """With single spaces for all white space, as words are compared."""
    return b" ".join(octets.split())


def run(*command, stdin=None, status=0, timeout=120, env=None, terminal=False):
    """Runs a program and returns what it printed, both streams together. Its status must be the one given."""
    command = [str(part) for part in command]
    if terminal:
        command = ["script", "--quiet", "--return", "--command", shlex.join(command), "/dev/null"]
    print("$", shlex.join(command), flush=True)
    done = subprocess.run(
        command,
        input=stdin if isinstance(stdin, (bytes, type(None))) else stdin.encode(),
        stdin=subprocess.DEVNULL if stdin is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
    )
    # Of a line that was overwritten, the last version.
    text = re.sub(r"[^\n]*\r(?!\n)", "", done.stdout.decode(errors="replace").replace("\r\n", "\n"))
    print(text if len(text) < 20000 else text[:10000] + "\n[...]\n" + text[-10000:], flush=True)
    assert status is None or done.returncode == status, f"{command[0]} ended with status {done.returncode}, not {status}"
    return text


def folder(name):
    """A new folder of this test."""
    return Path(tempfile.mkdtemp(prefix=name + "."))


def eventually(what, seconds=20):
    """Waits until `what()` is true, and returns it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)
    return found


def same(found, wanted, what=""):
    """Two octet strings are equal, or the first difference is shown."""
    if found == wanted:
        return
    at = next((index for index, pair in enumerate(zip(found, wanted)) if pair[0] != pair[1]), min(len(found), len(wanted)))
    near = slice(max(0, at - 60), at + 60)
    raise AssertionError(f"{what} differs at octet {at} ({len(found)} and {len(wanted)} octets):\n{found[near]!r}\n{wanted[near]!r}")


@contextlib.contextmanager
def step(name):
    """Names a part of a test in its log."""
    print(f"--- {name}", flush=True)
    start = time.monotonic()
    try:
        yield
        print(f"    {time.monotonic() - start:.2f} s", flush=True)
    except BaseException:
        print(f"--- failed: {name}", file=sys.stderr, flush=True)
        raise


class Lines:
    """A raw session, line by line. Wrong logins are counted and slowed by `source`, so those come from their own."""

    def __init__(self, port, secure=False, source=HOST):
        self.socket = socket.create_connection((HOST, port), timeout=30, source_address=(source, 0))
        if secure:
            self.start_tls()
        self.held = b""

    def start_tls(self):
        self.socket = tls().wrap_socket(self.socket, server_hostname=TLSNAME)
        self.held = b""

    def send(self, octets):
        print("C:", octets if isinstance(octets, bytes) and len(octets) < 300 else octets[:300], flush=True)
        self.socket.sendall(octets)

    def line(self):
        """The next line with its CRLF, or nothing at the end of the connection."""
        while b"\n" not in self.held:
            if not self._more():
                rest, self.held = self.held, b""
                return rest
        line, _, self.held = self.held.partition(b"\n")
        print("S:", line + b"\n" if len(line) < 500 else line[:500], flush=True)
        return line + b"\n"

    def exactly(self, count):
        while len(self.held) < count:
            assert self._more(), "the server hung up"
        octets, self.held = self.held[:count], self.held[count:]
        return octets

    def _more(self):
        try:
            octets = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            return False
        self.held += octets
        return bool(octets)

    def close(self):
        self.socket.close()
