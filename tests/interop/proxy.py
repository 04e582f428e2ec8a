"""PROXY headers, version 1 and 2, from peers that are listed for them, and from nobody else."""
# needs: swaks curl
# accounts: u20

import struct
import time

import rig
import serve

USER = rig.user(20)
PORTS = serve.free_ports(4)
SMTP, LMTP, IMAPS, PLAIN = PORTS
# Only 127.0.20.0/24 may not speak for others.
ROWS = "".join(
    f"""
[[listener]]
name = "{name}"
speaks = "{speaks}"
listen = ["{rig.HOST}:{port}"]

[[listener.peer]]
network = "127.0.0.0/8"
proxy_protocol = {proxy}
xclient = false

[[listener.peer]]
network = "127.0.20.0/24"
proxy_protocol = false

[[listener.peer]]
network = "203.0.113.66/32"
deny = true

# LMTP is for named clients only.
[[listener.peer]]
network = "203.0.113.0/24"
allow = true

[[listener.peer]]
network = "2001:db8::/32"
allow = true
"""
    for name, speaks, port, proxy in [
        ("smtp", "smtp", SMTP, "true"),
        ("lmtp", "lmtp", LMTP, "true"),
        ("imaps", "imaps", IMAPS, "true"),
        ("plain", "smtp", PLAIN, "false"),
    ]
)
HEADERS = {
    ("1", "203.0.113.7"): ["--proxy-family", "TCP4", "--proxy-dest", "192.0.2.1"],
    ("1", "2001:db8::7"): ["--proxy-family", "TCP6", "--proxy-dest", "2001:db8::1"],
    ("2", "203.0.113.7"): ["--proxy-family", "AF_INET", "--proxy-dest", "192.0.2.1"],
    ("2", "2001:db8::7"): ["--proxy-family", "AF_INET6", "--proxy-dest", "2001:db8::1"],
}
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source, command=1, values=b""):
    address = bytes(int(part) for part in source.split(".")) + bytes([192, 0, 2, 1]) + struct.pack("!HH", 4321, 25) + values
    return SIGNATURE + bytes([0x20 | command, 0x11]) + struct.pack("!H", len(address)) + address


def swaks(port, *arguments, status=0):
    return rig.run("swaks", "--server", rig.HOST, "--port", port, "--helo", "client.example", "--from", "s@elsewhere.example", "--to", USER, *arguments, status=status)


def said(header, port=SMTP, source=rig.HOST, seconds=8):
    """The first line that the server says behind this header; nothing when it just hangs up."""
    lines = rig.Lines(port, source=source)
    lines.socket.settimeout(seconds)
    if header:
        lines.send(header)
    line = lines.line()
    lines.close()
    return line


imap = rig.Imap(20)


def last():
    imap.ok("select", "INBOX")
    return imap.octets(imap.uids()[-1])


with serve.serving(ROWS, PORTS) as log:
    with rig.step("swaks with version 1 and 2, both families"):
        for (version, source), arguments in HEADERS.items():
            for port, protocol in [(SMTP, "ESMTP"), (LMTP, "LMTP")]:
                swaks(port, "--protocol", protocol, "--proxy-version", version, "--proxy-source", source, "--proxy-source-port", 4321, "--proxy-dest-port", 25, *arguments)
                top = last().split(b"\r\nFrom: ")[0].split(b"\r\nDate: ")[0]
                assert source.encode() in top, top
                assert b"127.0.0.1" not in top, top

    with rig.step("curl's --haproxy-protocol on imaps"):
        text = rig.run("curl", "-sS", "--cacert", rig.CAFILE, "--haproxy-protocol", "--user", f"{USER}:{rig.PASSWORD}", f"imaps://{rig.TLSNAME}:{IMAPS}/")
        assert "INBOX" in text

    with rig.step("spellings of a header"):
        for header in [
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 25\r\n",
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff:f...f:ffff 65535\r\n",
            v2("203.0.113.7"),
            # LOCAL: the proxy looks after its own health.
            v2("203.0.113.7", command=0),
            # With a value that we do not know.
            v2("203.0.113.7", values=b"\xee\x00\x03abc"),
        ]:
            assert said(header).startswith(b"220 second.example"), header

    with rig.step("no header, a broken one, a late one: silence"):
        for header in [
            b"EHLO client.example\r\n",
            b"PROXY TCP4 203.0.113.7\r\n",
            b"PROXY TCP4 203.0.113.777 192.0.2.1 4321 25\r\n",
            b"PROXY TCP9 203.0.113.7 192.0.2.1 4321 25\r\n",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 25\n",
            b"PROXY " + b"x" * 200,
            SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
            SIGNATURE + b"\x21\x11\x00\x02ab",
        ]:
            assert said(header) == b"", header
        start = time.monotonic()
        assert said(b"") == b"" and 3 < time.monotonic() - start < 8, "five seconds are enough"

    with rig.step("a client that is denied stays denied behind a proxy"):
        line = said(b"PROXY TCP4 203.0.113.66 192.0.2.1 4321 25\r\n")
        assert line == b"" or line.startswith((b"554", b"421")), line

    with rig.step("who is not listed cannot speak for others"):
        # Such a peer has a session of its own, in which PROXY is no command.
        for port, source in [(SMTP, "127.0.20.1"), (PLAIN, rig.HOST)]:
            lines = rig.Lines(port, source=source)
            assert lines.line().startswith(b"220 ")
            lines.send(b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 25\r\n")
            assert lines.line()[:1] in (b"5", b"")
            lines.close()
        swaks(PLAIN, "--xclient", "ADDR=203.0.113.7", status=33)
        swaks(PLAIN)
        assert b"203.0.113.7" not in last()

    with rig.step("the log names the client and who spoke for it"):
        rig.eventually(lambda: "203.0.113.7" in log() and "2001:db8::7" in log())
