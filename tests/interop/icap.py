"""c-icap as a scanner: its virus_scan beside clamd names what it finds, its echo lets all pass, and without it mail waits. A program that was
built without ICAP says so before it starts."""
# needs: namespaces ip openssl c-icap clamd

import glob
import os
import smtplib
import subprocess

import rig
import world
from engines import EICAR, Engine, attached, clamd, own, scanner

world.enter()

names = world.Names()
HERE, CLIENT = (world.address(last) for last in (10, 30))
names.put("here.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("origin.example", f'@ TXT "v=spf1 ip4:{CLIENT} -all"\n@ A {CLIENT}\n')
CERTIFICATE = world.Authority().issue("mail.here.example")
(MODULES,) = glob.glob("/usr/lib/*/c_icap")


def c_icap(socket):
    home = own(world.place("c-icap"), "c-icap")
    settings = world.place("c-icap-settings") / "conf"
    settings.write_text(
        f"PidFile {home}/pid\nCommandsSocket {home}/control\nPort 127.0.0.1:1344\nUser c-icap\nGroup c-icap\nTmpDir {home}\n"
        f"ModulesDir {MODULES}\nServicesDir {MODULES}\nLoadMagicFile /etc/c-icap/c-icap.magic\nTemplateDir /usr/share/c_icap/templates/\n"
        f"ServerLog {home}/log\nAccessLog {home}/access\nStartServers 1\nMaxServers 2\n"
        "Service echo srv_echo.so\nService antivirus_module virus_scan.so\n"
        "ServiceAlias avscan virus_scan?allow204=on&sizelimit=off&mode=simple\n"
        "virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE\nvirus_scan.MaxObjectSize 5M\nvirus_scan.DefaultEngine clamd\n"
        f"Module common clamd_mod.so\nclamd_mod.ClamdSocket {socket}\n"
    )
    return home, Engine(1344, "c-icap", "-N", "-f", settings)


def appliance(service, **more):
    return world.Posthorn("mail.here.example", HERE, names, CERTIFICATE, scanner("icap", "icap", "127.0.0.1:1344", service=service, time="5 s", **more))


def send(body, subject):
    octets = rig.message(subject, b"", From="ann@origin.example", To="bob@here.example").removesuffix(b"\r\n") + body
    with smtplib.SMTP(HERE, 25, timeout=60, source_address=(CLIENT, 0), local_hostname="client.origin.example") as smtp:
        smtp.ehlo()
        assert smtp.mail("ann@origin.example")[0] == 250
        assert smtp.rcpt("bob@here.example")[0] == 250
        code, words = smtp.data(octets)
    print(subject, code, words.decode(), flush=True)
    return code, words


with names.serving():
    said = appliance("avscan").ask("config", "check", status=None)
    if "built without the feature `icap`" in said:
        world.POSTHORN = os.environ.get("POSTHORN_ICAP") or world.POSTHORN
        said = appliance("avscan").ask("config", "check", status=None)
if "built without the feature `icap`" in said:
    print("no program with ICAP: POSTHORN_ICAP names none")
    raise SystemExit

socket, _ = clamd()
home, engine = c_icap(socket)
PLAIN = b"\r\nHello.\r\n"
LARGE = b"\r\n" + b"A line like many others.\r\n" * 20_000
with names.serving():
    ours = appliance("avscan")
    with ours.serving():
        ours.people("bob@here.example")
        with rig.step("what is fine passes, large and small, many on one connection"):
            for number in range(5):
                code, words = send(PLAIN, f"fine {number}")
                assert code == 250, words
            code, words = send(LARGE, "large")
            assert code == 250, words
        with rig.step("what its clamd knows does not come in"):
            code, words = send(attached(EICAR), "eicar")
            assert code == 554 and b"5.7" in words, words
            code, words = send(LARGE + b"a specimen of our own\r\n", "behind the look")
            assert code == 554, words
        with rig.step("it dies: mail waits; it is back: mail goes on"):
            engine.kill()
            code, words = send(b"\r\nHello, nobody.\r\n", "waits")
            assert code == 451, words
            engine.start()
            code, words = rig.eventually(lambda: (lambda said: said[0] == 250 and said)(send(b"\r\nHello again.\r\n", "again")))
    with appliance("echo").serving() as ours:
        ours.people("bob@here.example")
        with rig.step("a service that lets all pass"):
            assert send(PLAIN, "echoed")[0] == 250
            assert send(LARGE, "echoed and large")[0] == 250
    with appliance("nothing").serving() as ours:
        ours.people("bob@here.example")
        with rig.step("a service that is not there is no verdict"):
            assert send(PLAIN, "nobody")[0] == 451
print(subprocess.run(["tail", "-n", "5", home / "access"], check=False, stdout=subprocess.PIPE, text=True).stdout)
