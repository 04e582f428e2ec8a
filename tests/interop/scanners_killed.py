"""With engines of others in place of our own parts, each of them dies and hangs in turn, the others alive: strangers' mail waits, our own
people's passes by choice, and neither takes longer than the engine may."""
# needs: namespaces ip openssl clamd rspamd spamd opendkim amavisd

import smtplib
import time

import rig
import world
from engines import amavisd, clamd, opendkim, rspamd, scanner, spamd

world.enter()

names = world.Names()
HERE, CLIENT = (world.address(last) for last in (10, 30))
names.put("here.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("origin.example", f'@ TXT "v=spf1 ip4:{CLIENT} -all"\n@ A {CLIENT}\n')
CERTIFICATE = world.Authority().issue("mail.here.example")
# What one engine may take, and what everything else may take besides.
TIME, BESIDES = 4, 4
count = 0


def stranger(body):
    """The reply behind the final dot, and how long it took."""
    with smtplib.SMTP(HERE, 25, timeout=60, source_address=(CLIENT, 0), local_hostname="client.origin.example") as smtp:
        smtp.ehlo()
        assert smtp.mail("ann@origin.example")[0] == 250
        assert smtp.rcpt("bob@here.example")[0] == 250
        return said(smtp, body, "ann@origin.example")


def ourselves(body):
    """The same for a message of our own people."""
    with smtplib.SMTP_SSL(HERE, 465, timeout=60, context=world.careless()) as smtp:
        smtp.login("bob@here.example", world.PASSWORD)
        assert smtp.mail("bob@here.example")[0] == 250
        assert smtp.rcpt("eve@here.example")[0] == 250
        return said(smtp, body, "bob@here.example")


def said(smtp, body, sender):
    global count
    count += 1
    octets = rig.message(f"{body} {count}", f"{body} {count} {time.monotonic()}\r\n".encode(), From=sender, To="somebody@here.example")
    began = time.monotonic()
    code, words = smtp.data(octets)
    seconds = time.monotonic() - began
    print(body, code, words.decode(), f"{seconds:.2f} s", flush=True)
    assert seconds < TIME + BESIDES, f"{seconds} s are longer than {TIME} s and a bit"
    return code


def back(engine):
    """It is asked again once it has rested."""
    rig.eventually(lambda: stranger("back") == 250 or time.sleep(1), 40)
    assert ourselves("back") == 250


def each_in_turn(engines):
    for name, engine, gone in engines:
        with rig.step(f"{name} dies: strangers wait, our own people do not"):
            engine.kill()
            for _ in range(4):
                assert stranger(f"{name} dead") == 451
                assert ourselves(f"{name} dead") == 250
            gone()
            engine.start()
            back(engine)
        with rig.step(f"{name} hangs: the same, and no longer than it may take"):
            engine.hang()
            assert stranger(f"{name} hangs") == 451
            assert ourselves(f"{name} hangs") == 250
            engine.go_on()
            back(engine)


EITHER = {"time": f"{TIME} s", "on_failure": "defer", "on_failure_originating": "pass"}
socket, virus = clamd()
engines = [
    ("clamd", virus, lambda: socket.unlink(missing_ok=True)),
    ("rspamd", rspamd(), lambda: None),
    ("spamd", spamd(), lambda: None),
    ("opendkim", opendkim(), lambda: None),
]
ours = world.Posthorn(
    "mail.here.example", HERE, names, CERTIFICATE,
    scanner("clamd", "clamd", socket, **EITHER) + scanner("rspamd", "rspamd", "127.0.0.1:11333", **EITHER)
    + scanner("spamd", "spamd", "127.0.0.1:7830", **EITHER) + scanner("opendkim", "milter", "127.0.0.1:8891", **EITHER),
)  # fmt: skip
with names.serving(), ours.serving():
    ours.people("bob@here.example", "eve@here.example")
    with rig.step("all alive"):
        # The first question of an engine may be slow.
        rig.eventually(lambda: stranger("alive") == 250 or time.sleep(1), 40)
        assert ourselves("alive") == 250
    each_in_turn(engines)

filter_ = amavisd(socket)
ours = world.Posthorn(
    "mail.here.example", HERE, names, CERTIFICATE,
    '[[listener]]\nname = "back"\nspeaks = "reinject"\nlisten = ["127.0.0.1:10025"]\n\n'
    + scanner("amavisd", "smtp", "127.0.0.1:10024", **EITHER),
)  # fmt: skip
with names.serving(), ours.serving():
    ours.people("bob@here.example", "eve@here.example")
    rig.eventually(lambda: stranger("alive") == 250 or time.sleep(1), 40)
    each_in_turn([("amavisd", filter_, lambda: None)])
    with rig.step("nothing came twice"):
        for who in ("bob@here.example", "eve@here.example"):
            subjects = [octets.split(b"Subject: ", 1)[1].split(b"\r\n", 1)[0] for octets in ours.inbox(who)]
            assert len(subjects) == len(set(subjects)), subjects
