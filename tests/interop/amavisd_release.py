"""Debian's `amavisd-release`, unmodified, releases held mail over our Unix socket, and over nothing else without the secret."""
# needs: namespaces ip openssl amavisd-release

import os
import smtplib
import socket
import subprocess

import rig
import world

world.enter()

names = world.Names()
HERE = world.address(10)
names.put("rules.example", f"@ MX 10 mail\nmail A {HERE}\n")
# Where the program looks for its server.
os.makedirs("/var/lib/amavis", exist_ok=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib/amavis"], check=True)
SOCKET = "/var/lib/amavis/amavisd.sock"

ours = world.Posthorn(
    "mail.rules.example", HERE, names, world.Authority().issue("mail.rules.example"),
    f'[[listener]]\nname = "am-pdp"\nspeaks = "am-pdp"\nlisten = ["{SOCKET}", "127.0.0.1:9998"]\n\n'
    '[[listener]]\nname = "filter"\nspeaks = "filter"\nlisten = ["127.0.0.1:10024"]\n\n',
)  # fmt: skip

EXECUTABLE = (
    b"From: ann@else.example\r\nTo: bob@rules.example\r\nSubject: a program\r\nDate: Mon, 7 Feb 1994 21:52:25 +0000\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nSee.\r\n--x\r\n"
    b'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="bill.exe"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n--x--\r\n"
)


def asked(request):
    """What the TCP port says."""
    with socket.create_connection(("127.0.0.1", 9998), timeout=30) as one:
        one.sendall(request.encode())
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            piece = one.recv(4096)
            if not piece:
                break
            said += piece
    return said.decode()


def release(mail_id, *recipients, status=0):
    return rig.run("amavisd-release", f"spam-{mail_id}.gz", "", *recipients, status=status)


with names.serving(), ours.serving():
    ours.people("bob@rules.example", "eve@rules.example")
    with smtplib.SMTP("127.0.0.1", 10024, timeout=60) as smtp:
        smtp.ehlo()
        smtp.mail("ann@else.example")
        for recipient in ("bob@rules.example", "eve@rules.example"):
            assert smtp.rcpt(recipient)[0] == 250
        code, words = smtp.data(EXECUTABLE)
    assert code == 250 and b"held as " in words, (code, words)
    mail_id = words.split()[-1].decode()

    with rig.step("without the secret nothing leaves by TCP"):
        for secret in ("", "secret_id=wrong\r\n"):
            said = asked(f"request=release\r\nmail_id={mail_id}\r\n{secret}\r\n")
            assert said.startswith("setreply=554 5.7.1 "), said

    with rig.step("amavisd-release: one recipient, then the rest"):
        said = release(mail_id, "bob@rules.example")
        print(said)
        assert said.count("250 2.0.0") == 1, said
        ours.report("bob@rules.example", b"bill.exe")
        assert not ours.inbox("eve@rules.example")
        said = release(mail_id)
        print(said)
        assert said.count("250 2.0.0") == 1, said
        octets = ours.report("eve@rules.example", b"bill.exe")
        assert b"\r\nResent-To: <eve@rules.example>" in octets, octets
        assert len(ours.inbox("bob@rules.example")) == 1, "once"

    with rig.step("what is gone is refused"):
        said = release(mail_id, status=None)
        assert "250 " not in said, said
