"""With every port of the filter on, another host gets an answer from the public ports alone; and no configuration gives them a wide
address."""
# needs: namespaces ip nsenter openssl

import subprocess
import sys

import rig
import world

world.enter()

names = world.Names()
OUTSIDE, HERE = "198.51.100.2", "198.51.100.1"
# Another host: a network of its own at the other end of a cable.
other = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
rig.eventually(lambda: subprocess.run(["nsenter", "-t", str(other.pid), "-n", "ip", "link", "set", "lo", "up"], check=False).returncode == 0)
rig.eventually(lambda: rig.run("nsenter", "-t", other.pid, "-n", "ip", "-o", "link").count("\n") == 1)
rig.run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", other.pid)
rig.run("ip", "address", "add", f"{HERE}/24", "dev", "near")
rig.run("ip", "link", "set", "near", "up")
for command in (f"address add {OUTSIDE}/24 dev far", "link set far up"):
    rig.run("nsenter", "-t", other.pid, "-n", "ip", *command.split())

INTERNAL = {
    10024: "filter", 10025: "reinject", 10026: "filter", 10028: "reinject-expand", 9998: "am-pdp", 2500: "milter", 7777: "policy",
}  # fmt: skip
PUBLIC = {25, 465, 587, 993}
MORE = {10026: 'filter = { way = "originating", next_hop = "127.0.0.1:10025" }\n'}


def row(port, speaks, where):
    return f'[[listener]]\nname = "port{port}"\nspeaks = "{speaks}"\nlisten = ["{where}"]\n{MORE.get(port, "")}\n'


def appliance(rows):
    return world.Posthorn("mail.here.example", HERE, names, certificate, rows)


certificate = world.Authority().issue("mail.here.example")
# A connection that is answered says something, or at least waits for us to say something.
LOOK = """
import errno, socket, sys
where, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for port in range(first, last):
    with socket.socket() as one:
        one.settimeout(3)
        if one.connect_ex((where, port)) == 0:
            print(port, flush=True)
"""


def answering(where, outside=True, ports=(1, 65536)):
    """The ports of an address that answer."""
    command = [sys.executable, "-c", LOOK, where, *map(str, ports)]
    prefix = ["nsenter", "-t", str(other.pid), "-n"] if outside else []
    done = subprocess.run([*prefix, *command], stdout=subprocess.PIPE, check=True, timeout=200)
    return {int(line) for line in done.stdout.split()}


with names.serving(), rig.step("no configuration gives an internal port a wide address"):
    for port, speaks in INTERNAL.items():
        for where in (f"{HERE}:{port}", f"0.0.0.0:{port}", f"[::]:{port}"):
            said = appliance(row(port, speaks, where)).ask("config", "check", status=2)
            assert "trusts its clients and so listens on loopback or a Unix socket" in said, said

ours = appliance("".join(row(port, speaks, f"127.0.0.1:{port}") for port, speaks in INTERNAL.items()))
with names.serving(), ours.serving():
    with rig.step("here they all listen"):
        for port in INTERNAL:
            assert world.opens("127.0.0.1", port), port
    with rig.step("from another host only the public ports answer, of all that there are"):
        assert answering(HERE) == PUBLIC, answering(HERE)
    with rig.step("nor does loopback answer by way of the cable"):
        subprocess.run(["nsenter", "-t", str(other.pid), "-n", "ip", "route", "replace", "127.0.0.2/32", "via", HERE], check=True)
        for port in INTERNAL:
            assert not answering("127.0.0.2", ports=(port, port + 1)), port
