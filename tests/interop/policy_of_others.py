"""Policy servers of others in place of our rules: postgrey and policyd-spf decide, stop, and come back."""
# needs: namespaces ip openssl postgrey policyd-spf socat

import os
import pwd
import re
import shutil
import smtplib
import subprocess
import time

import rig
import world

world.enter()

names = world.Names()
HERE, GOOD, LIAR, NEW = (world.address(last) for last in (10, 30, 66, 67))
names.put("here.example", f"@ MX 10 mail\nmail A {HERE}\n")
names.put("origin.example", f'@ TXT "v=spf1 ip4:{GOOD} -all"\n@ A {GOOD}\n')
names.put("neutral.example", f"@ A {NEW}\n")

SPF = world.place("spf") / "socket"
ours = world.Posthorn(
    "mail.here.example", HERE, names, world.Authority().issue("mail.here.example"),
    '[[policy.service]]\nname = "postgrey"\naddress = "127.0.0.1:10023"\ntime = "3 s"\n\n'
    f'[[policy.service]]\nname = "spf"\naddress = "{SPF}"\ntime = "10 s"\ndefault_action = "DUNNO"\n\n',
)  # fmt: skip

# Postfix starts it by spawn(8), a process for each connection; here socat does.
settings = SPF.parent / "policyd-spf.conf"
settings.write_text("debugLevel = 1\nHELO_reject = False\nMail_From_reject = Fail\nPermError_reject = False\nTempError_Defer = False\n")


def send(sender, client):
    """What we said to RCPT, or 250 for a message that was taken."""
    with smtplib.SMTP(timeout=60, source_address=(client, 0), local_hostname="client.example") as smtp:
        smtp.connect(HERE, 25)
        smtp.ehlo()
        smtp.mail(sender)
        code, words = smtp.rcpt("bob@here.example")
        if code == 250:
            code, words = smtp.data(rig.message("by other people's rules", b"Hello.\r\n", From=sender, To="bob@here.example"))
        return code, words.decode()


def postgrey():
    db = world.place(f"postgrey-{time.monotonic_ns()}")
    os.chown(db, pwd.getpwnam("postgrey").pw_uid, -1)
    command = ["postgrey", "--inet=127.0.0.1:10023", "--delay=2", f"--dbdir={db}", "--user=postgrey", "--group=nogroup", "--syslog-facility=mail"]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    rig.eventually(lambda: world.opens("127.0.0.1", 10023))
    return server


program = shutil.which("policyd-spf")
world.background(
    "socat", f"UNIX-LISTEN:{SPF},fork,mode=666", f"EXEC:{program} {settings}", ready=SPF.exists,
)  # fmt: skip

with names.serving(), ours.serving():
    ours.people("bob@here.example")

    with rig.step("nobody answers: the default action"):
        code, words = send("ann@origin.example", GOOD)
        assert code == 451 and "4.3.5" in words, (code, words)

    grey = postgrey()
    with rig.step("postgrey: first not, later yes"):
        code, words = send("ann@origin.example", GOOD)
        assert code == 450 and "Greylisted" in words, (code, words)
        time.sleep(2.5)
        code, words = send("ann@origin.example", GOOD)
        assert code == 250, (code, words)
        (octets,) = ours.inbox("bob@here.example")
        print(octets.decode())
        assert re.search(rb"(?m)^X-Greylist: delayed \d+ seconds by postgrey", octets), "postgrey prepends a field"
        assert re.search(rb"(?m)^Received-SPF: Pass", octets), "policyd-spf prepends one as well"

    with rig.step("policyd-spf: a lie is refused with its words"):
        time.sleep(0.1)
        send("ann@origin.example", LIAR)
        time.sleep(2.5)
        code, words = send("ann@origin.example", LIAR)
        assert code == 550 and "SPF" in words, (code, words)

    with rig.step("the trace names them"):
        said = ours.trace("bob@here.example")
        print(said)
        assert "postgrey" in str(said) and "spf" in str(said)

    with rig.step("postgrey dies and comes back: no session is stuck"):
        grey.kill()
        grey.wait()
        began = time.monotonic()
        code, words = send("ann@neutral.example", NEW)
        assert code == 451 and time.monotonic() - began < 10, (code, words)
        grey = postgrey()
        code, words = send("ann@neutral.example", NEW)
        assert code == 450 and "Greylisted" in words, (code, words)

    with rig.step("postgrey hangs: its time is over, not ours"):
        grey.send_signal(19)
        began = time.monotonic()
        code, words = send("eve@neutral.example", NEW)
        assert code == 451 and 2 < time.monotonic() - began < 12, (code, words, time.monotonic() - began)
        grey.send_signal(18)
        code, words = send("eve@neutral.example", NEW)
        assert code == 450, (code, words)
    grey.kill()
    grey.wait()
