"""net-snmp's snmpd hands our numbers to snmpwalk, where AMAVIS-MIB has them; curl reads the same from the metrics port."""
# needs: namespaces ip openssl snmpd snmpwalk snmpget curl

import re
import smtplib

import rig
import world
from engines import GTUBE, attached

world.enter()

names = world.Names()
HERE, CLIENT = (world.address(last) for last in (10, 30))
names.put("here.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("origin.example", f'@ TXT "v=spf1 ip4:{CLIENT} -all"\n@ A {CLIENT}\n')
ours = world.Posthorn(
    "mail.here.example", HERE, names, world.Authority().issue("mail.here.example"),
    '[[listener]]\nname = "metrics"\nspeaks = "metrics"\nlisten = ["127.0.0.1:9464"]\n\n',
)  # fmt: skip
MIB = ".1.3.6.1.4.1.15312.2.1"
CATEGORIES = ("clean", "trouble", "oversized", "bad-header", "spammy", "spam", "unchecked", "banned", "virus")

agent = world.place("snmpd")
(agent / "conf").write_text(
    f"agentaddress udp:127.0.0.1:1161\nrocommunity public 127.0.0.1\npass_persist {MIB} {world.POSTHORN} snmp\npersistentDir {agent}\n"
)


def send(body, subject):
    octets = rig.message(subject, b"", From="ann@origin.example", To="bob@here.example").removesuffix(b"\r\n") + body
    with smtplib.SMTP(HERE, 25, timeout=60, source_address=(CLIENT, 0), local_hostname="client.origin.example") as smtp:
        smtp.ehlo()
        assert smtp.mail("ann@origin.example")[0] == 250
        assert smtp.rcpt("bob@here.example")[0] == 250
        return smtp.data(octets)[0]


def walked():
    """What snmpwalk prints of the subtree: values by what stands behind its root."""
    said = rig.run("snmpwalk", "-v2c", "-c", "public", "-m", "", "-On", "127.0.0.1:1161", MIB)
    return dict(re.findall(rf"(?m)^{re.escape(MIB)}(\S+) = (?:\w+: )?(.*)$", said))


def counted():
    """The same numbers as the metrics port tells them."""
    page = rig.run("curl", "-sS", "http://127.0.0.1:9464/metrics")
    return {name: int(value) for name, value in re.findall(r'(?m)^posthorn_filter_verdicts_total\{category="([^"]+)"\} (\d+)$', page)}


with names.serving(), ours.serving():
    ours.people("bob@here.example")
    world.background(
        "snmpd", "-f", "-Lo", "-C", "-c", agent / "conf", "-p", agent / "pid",
        ready=lambda: "Posthorn" in rig.run("snmpwalk", "-v2c", "-c", "public", "-m", "", "-On", "-t1", "-r0", "127.0.0.1:1161", MIB, status=None),
    )  # fmt: skip
    with rig.step("mail of three categories is judged"):
        for at in range(5):
            assert send(b"\r\nHello.\r\n", f"fine {at}") == 250
        for at in range(2):
            assert send(attached(b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0\0\0").replace(b"notes.dat", b"notes.exe"), f"program {at}") == 554
        assert send(b"\r\n" + GTUBE, "gtube") in (250, 554)
    with rig.step("snmpwalk and curl read the same numbers by category"):
        # The agent's helper looks once a second at most.
        walk = rig.eventually(lambda: int((now := walked())[".1.2.1.0"]) == 8 and now)
        page = counted()
        print(walk, page)
        assert "Posthorn" in walk[".1.1.1.0"], walk
        for code, name in enumerate(CATEGORIES, 1):
            assert int(walk[f".1.10.{code}.1.0"]) == page.get(name, 0), (name, walk, page)
        assert (page["clean"], page["banned"], page["spam"]) == (5, 2, 1), page
        assert int(walk[".1.2.1.0"]) == sum(page.values()) == 8
    with rig.step("one number by itself; and none of them can be set"):
        assert rig.run("snmpget", "-v2c", "-c", "public", "-m", "", "-Oqv", "127.0.0.1:1161", f"{MIB}.1.10.8.1.0").strip() == "2"
