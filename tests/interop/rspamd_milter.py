"""rspamd as a milter behind us: it wants to change recipients whatever it is offered, adds fields, refuses, and dies."""
# needs: namespaces ip openssl rspamd

import smtplib

import rig
import world
from engines import GTUBE, rspamd, scanner

world.enter()

names = world.Names()
HERE, CLIENT = (world.address(last) for last in (10, 30))
names.put("here.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("origin.example", f'@ TXT "v=spf1 ip4:{CLIENT} -all"\n@ A {CLIENT}\n')
PROXY = 11332
engine = rspamd(f'worker "rspamd_proxy" {{ bind_socket = "127.0.0.1:{PROXY}"; milter = yes; timeout = 20s; count = 1;\n'
                'upstream "local" { default = yes; hosts = "127.0.0.1:11333"; } }\n')  # fmt: skip
ours = world.Posthorn(
    "mail.here.example", HERE, names, world.Authority().issue("mail.here.example"),
    scanner("rspamd", "milter", f"127.0.0.1:{PROXY}", time="5 s"),
)  # fmt: skip


def send(subject, body):
    octets = rig.message(subject, body, From="ann@origin.example", To="bob@here.example")
    with smtplib.SMTP(HERE, 25, timeout=60, source_address=(CLIENT, 0), local_hostname="client.origin.example") as smtp:
        smtp.ehlo()
        assert smtp.mail("ann@origin.example")[0] == 250
        assert smtp.rcpt("bob@here.example")[0] == 250
        code, words = smtp.data(octets)
    print(subject, code, words.decode(), flush=True)
    return code, words


with names.serving(), ours.serving():
    ours.people("bob@here.example")
    rig.eventually(lambda: world.opens("127.0.0.1", PROXY), 60)
    with rig.step("what is fine comes in"):
        # The first question of an engine may be slow.
        rig.eventually(lambda: send("fine", b"Hello, milter.\r\n")[0] == 250, 40)
        assert ours.report("bob@here.example", b"Hello, milter.")
    with rig.step("what it is sure of is refused in its words"):
        code, words = send("gtube", GTUBE)
        assert code == 554 and b"Gtube" in words, words
    with rig.step("it dies: mail waits, and goes on when it is back"):
        engine.kill()
        code, words = send("waits", b"Hello, nobody.\r\n")
        assert code == 451, words
        engine.start()
        rig.eventually(lambda: world.opens("127.0.0.1", PROXY), 60)
        rig.eventually(lambda: send("again", b"Hello again.\r\n")[0] == 250, 60)
