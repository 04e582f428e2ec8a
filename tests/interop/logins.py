"""Every way to log in, written out: AUTHENTICATE and AUTH with and without initial response, PLAIN, LOGIN, SCRAM."""
# accounts: alice

import base64
import hashlib
import hmac
import os
import secrets

import rig

USER = os.environ["USER1"]
PASSWORD = os.environ["PASS1"]


def b64(octets):
    return base64.b64encode(octets if isinstance(octets, bytes) else octets.encode())


def plain(password=None, authorization=""):
    return b64(f"{authorization}\0{USER}\0{password or PASSWORD}")


class Scram:
    """The client's half of RFC 5802 with SHA-256."""

    def __init__(self, password=None):
        self.password = password or PASSWORD
        self.bare = f"n={USER},r={secrets.token_hex(12)}"

    def first(self):
        return b64("n,," + self.bare)

    def final(self, challenge):
        server_first = base64.b64decode(challenge, validate=True).decode()
        values = dict(part.split("=", 1) for part in server_first.split(","))
        assert values["r"].startswith(self.bare.split("r=")[1]) and int(values["i"]) >= 4096, values
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(values["s"]), int(values["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={values['r']}"
        signed = f"{self.bare},{server_first},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        self.signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        return b64(f"{without_proof},p={b64(proof).decode()}")

    def verify(self, answer):
        assert base64.b64decode(answer, validate=True) == b"v=" + b64(self.signature), "the server proves itself"


class Imap:
    def __init__(self, source=rig.HOST):
        self.lines = rig.Lines(rig.IMAPS_PORT, secure=True, source=source)
        self.greeting = self.lines.line().decode()

    def begin(self, mechanism, initial=None):
        self.lines.send(b"a AUTHENTICATE " + mechanism.encode() + (b" " + initial if initial is not None else b"") + b"\r\n")

    def challenge(self):
        line = self.lines.line()
        assert line.startswith(b"+ ") and line.endswith(b"\r\n"), line
        return line[2:-2]

    def respond(self, response):
        self.lines.send(response + b"\r\n")

    def outcome(self):
        while not (line := self.lines.line()).startswith(b"a "):
            assert line.startswith(b"* "), line
        return line.decode()

    def welcomed(self):
        line = self.outcome()
        assert line.startswith("a OK ") and len(line) > 8, line
        self.lines.send(b"b STATUS INBOX (MESSAGES)\r\n")
        assert self.lines.line().startswith(b"* STATUS INBOX (MESSAGES ")
        assert self.lines.line().startswith(b"b OK ")

    def refused(self):
        line = self.outcome()
        assert line.startswith("a NO [AUTHENTICATIONFAILED]"), line
        self.lines.send(b"b SELECT INBOX\r\n")
        assert self.lines.line().startswith(b"b BAD")

    def cancelled(self):
        assert self.outcome().startswith("a BAD")


class Submission:
    def __init__(self, source=rig.HOST):
        self.lines = rig.Lines(rig.SUBMISSIONS_PORT, secure=True, source=source)
        assert self.reply().startswith("220 ")
        self.lines.send(b"EHLO client.example\r\n")
        self.greeting = self.reply()

    def reply(self):
        text = ""
        while True:
            line = self.lines.line().decode()
            text += line
            if line[3:4] != "-":
                return text

    def begin(self, mechanism, initial=None):
        self.lines.send(b"AUTH " + mechanism.encode() + (b" " + initial if initial is not None else b"") + b"\r\n")

    def challenge(self):
        line = self.reply()
        assert line.startswith("334 ") and line.endswith("\r\n"), line
        return line[4:-2].encode()

    def respond(self, response):
        self.lines.send(response + b"\r\n")

    def welcomed(self):
        line = self.reply()
        assert line.startswith("235 2.7.0"), line
        self.lines.send(f"MAIL FROM:<{USER}>\r\n".encode())
        assert self.reply().startswith("250 2.1.0")

    def refused(self):
        line = self.reply()
        assert line.startswith("535 5.7.8"), line
        self.lines.send(f"MAIL FROM:<{USER}>\r\n".encode())
        assert self.reply().startswith("530 5.7.0")

    def cancelled(self):
        assert self.reply().startswith("501 5")


def both(story, *arguments):
    for session in (Imap, Submission):
        with rig.step(f"{session.__name__}: {story.__name__} {arguments}"):
            new = session()
            story(new, *arguments)
            new.lines.close()


def refusals(*stories):
    """Each from an address and with an account of its own, or they would be slowed ever more."""
    global USER, PASSWORD
    before = USER, PASSWORD
    for number, (story, session) in enumerate((story, session) for story in stories for session in (Imap, Submission)):
        with rig.step(f"{session.__name__}: {story.__name__}"):
            USER, PASSWORD = rig.user(number), rig.PASSWORD
            new = session(f"127.0.4.{number + 2}")
            story(new)
            new.lines.close()
    USER, PASSWORD = before


def plain_with_initial(session):
    session.begin("PLAIN", plain())
    session.welcomed()


def plain_asked(session):
    session.begin("PLAIN")
    assert session.challenge() == b""
    session.respond(plain())
    session.welcomed()


def plain_as_oneself(session):
    session.begin("plain", plain(authorization=USER))
    session.welcomed()


def plain_as_another(session):
    session.begin("PLAIN", plain(authorization=os.environ["USER2"]))
    session.refused()


def plain_wrong(session):
    session.begin("PLAIN", plain("wrong"))
    session.refused()


def plain_cancelled(session):
    session.begin("PLAIN")
    session.challenge()
    session.respond(b"*")
    session.cancelled()
    session.begin("PLAIN", plain())
    session.welcomed()


def scram(session, initial):
    client = Scram()
    session.begin("SCRAM-SHA-256", client.first() if initial else None)
    if not initial:
        assert session.challenge() == b""
        session.respond(client.first())
    session.respond(client.final(session.challenge()))
    if isinstance(session, Imap):
        client.verify(session.challenge())
        session.respond(b"")
        session.welcomed()
        return
    line = session.reply()
    if line.startswith("334 "):
        client.verify(line[4:].strip())
        session.respond(b"")
        session.welcomed()
    else:
        assert line.startswith("235"), line


def scram_wrong(session):
    client = Scram("wrong")
    session.begin("SCRAM-SHA-256", client.first())
    session.respond(client.final(session.challenge()))
    session.refused()


def unknown_user_looks_the_same(session):
    client = Scram()
    client.bare = client.bare.replace(USER, "nobody-here@example.org")
    session.begin("SCRAM-SHA-256", client.first())
    session.respond(client.final(session.challenge()))
    session.refused()


def offers(session):
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"):
        assert mechanism in session.greeting, session.greeting
    assert "CRAM-MD5" not in session.greeting.replace("SCRAM", "")
    if isinstance(session, Submission):
        session.begin("CRAM-MD5")
        assert session.reply().startswith("504 5.5.4")
    else:
        session.begin("CRAM-MD5")
        assert session.outcome().startswith("a NO")


both(offers)
for story in (plain_with_initial, plain_asked, plain_as_oneself, plain_cancelled):
    both(story)
both(scram, True)
both(scram, False)
refusals(plain_as_another, plain_wrong, scram_wrong, unknown_user_looks_the_same)

with rig.step("Submission: AUTH LOGIN"):
    for initial in (None, b64(USER)):
        session = Submission()
        session.begin("LOGIN", initial)
        if initial is None:
            assert base64.b64decode(session.challenge()).lower() == b"username:"
            session.respond(b64(USER))
        assert base64.b64decode(session.challenge()).lower() == b"password:"
        session.respond(b64(PASSWORD))
        session.welcomed()

with rig.step("Imap: LOGIN with quoted strings and literals"):
    session = Imap()
    session.lines.send(f'a LOGIN "{USER}" "{PASSWORD}"\r\n'.encode())
    session.welcomed()
    session = Imap()
    session.lines.send(f"a LOGIN {{{len(USER)}}}\r\n".encode())
    assert session.lines.line().startswith(b"+ ")
    session.lines.send(f"{USER} {{{len(PASSWORD)}}}\r\n".encode())
    assert session.lines.line().startswith(b"+ ")
    session.lines.send(f"{PASSWORD}\r\n".encode())
    session.welcomed()
    session = Imap("127.0.4.250")
    session.lines.send(f'a LOGIN {USER} "wrong \\" \\\\"\r\n'.encode())
    session.refused()
