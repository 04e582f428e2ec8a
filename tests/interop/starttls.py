"""openssl's client upgrades every service, and bytes behind STARTTLS are never executed."""
# needs: openssl
# accounts: u5

import os
import re
import ssl
from pathlib import Path

import rig

SERVICES = {"smtp": ("smtp", rig.SMTP_PORT), "submission": ("smtp", rig.SUBMISSION_PORT), "imap": ("imap", rig.IMAP_PORT)}
TRUST = ["-CAfile", rig.CAFILE, "-verify_return_error", "-verify_hostname", rig.TLSNAME, "-servername", rig.TLSNAME]


def s_client(port, *arguments, said, status=0):
    # `-ign_eof` waits for the server's answers, `-crlf` ends lines as the protocols want them.
    return rig.run("openssl", "s_client", "-connect", f"{rig.HOST}:{port}", *TRUST, "-crlf", "-ign_eof", *arguments, stdin=said, status=status)


with rig.step("sessions by openssl s_client"):
    for name, (protocol, port) in SERVICES.items():
        end = "a LOGOUT\n" if protocol == "imap" else "NOOP\nQUIT\n"
        for version in ("-tls1_2", "-tls1_3"):
            text = s_client(port, "-starttls", protocol, "-name", "client.example", version, said=end)
            assert "Verification: OK" in text, name
            assert ("a OK" if protocol == "imap" else "\n221 2.0.0") in text, name
    for port, end, answer in [(rig.IMAPS_PORT, "a LOGOUT\n", "a OK"), (rig.SUBMISSIONS_PORT, "QUIT\n", "\n221 2.0.0")]:
        for version in ("-tls1_2", "-tls1_3"):
            text = s_client(port, version, said=end)
            assert "Verification: OK" in text and answer in text

with rig.step("old protocol versions are refused"):
    for port in (rig.IMAPS_PORT, rig.SUBMISSIONS_PORT):
        text = s_client(port, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", said="", status=1)
        assert "alert" in text, text

# Each of these would leave a mark if it were executed inside TLS: an answer.
BEHIND = {
    "smtp": [b"NOOP\r\n", b"EHLO injected.example\r\n", b"RSET\r\nMAIL FROM:<injected@elsewhere.example>\r\n", b"X", b"\r\n"],
    "imap": [b"i NOOP\r\n", b"i CAPABILITY\r\n", b"i LOGIN injected injected\r\n", b"i", b"\r\n"],
}


def injection(protocol, port, behind):
    """Sends STARTTLS and more in one write. The session must end, or go on without having looked at it."""
    lines = rig.Lines(port)
    if protocol == "imap":
        lines.line()
        lines.send(b"a STARTTLS\r\n" + behind)
    else:
        lines.line()
        lines.send(b"EHLO client.example\r\n")
        while lines.line()[3:4] == b"-":
            pass
        lines.send(b"STARTTLS\r\n" + behind)
    answer = lines.line()
    if answer:
        assert answer.startswith((b"220", b"a OK")), answer
        assert not lines.held, f"answered in the clear: {lines.held}"
    try:
        lines.start_tls()
    except (ssl.SSLError, OSError) as error:
        print("the session is over:", error)
        return
    # Should TLS come up after all, then the first answer belongs to the first command inside.
    lines.send(b"t CAPABILITY\r\n" if protocol == "imap" else b"HELP\r\n")
    first = lines.line()
    assert not first or first.startswith((b"* CAPABILITY", b"214", b"503")), first
    if protocol == "imap" and first:
        assert lines.line().startswith(b"t OK")


with rig.step("bytes behind STARTTLS"):
    for name, (protocol, port) in SERVICES.items():
        for behind in BEHIND[protocol]:
            print(f"- {name} {behind}")
            injection(protocol, port, behind)

with rig.step("the operator can see it"):
    log = Path(os.environ["SERVER_LOG"])
    for name in SERVICES:
        rig.eventually(lambda: re.search(rf"WARN.*bytes behind STARTTLS.*\blistener={name}\b", log.read_text()))

with rig.step("the server goes on after all that"):
    imap = rig.Imap(5)
    before = imap.status_of("INBOX", "MESSAGES")["MESSAGES"]
    rig.deliver(5, rig.message("still here"))
    assert imap.status_of("INBOX", "MESSAGES")["MESSAGES"] == before + 1
