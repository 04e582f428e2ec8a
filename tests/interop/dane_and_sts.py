"""Two Posthorns: mail between them under DANE and under MTA-STS, and what is wrong with either keeps the mail back."""
# needs: namespaces ip openssl

import http.server
import re
import ssl
import threading
import time

import rig
import world

world.enter()

names = world.Names()
authority, stranger = world.Authority(), world.Authority()
EAST, WEST, CLEAR, POLICIES = (world.address(last) for last in (10, 20, 21, 50))

# What each domain of the west shows. All are served by one appliance; its certificate is chosen by the name asked for.
east = authority.issue("mx.east.example")
west = authority.issue("mx.west.example")
other = authority.issue("mx.other.example")
unknown = stranger.issue("mx.unknown.example")
sts = authority.issue("mx.sts.example")


def zone(domain, *more, where=WEST, signed=False):
    names.put(domain, "\n".join(["$TTL 1", "@ MX 10 mx", f"mx A {where}", *more, ""]), signed)


def policy(domain, mode, mx, where=WEST):
    """Publishes a policy, and that there is one."""
    zone(domain, f"mta-sts A {POLICIES}", '_mta-sts TXT "v=STSv1; id=20260101T000000;"', where=where)
    texts[f"mta-sts.{domain}"] = f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n"


texts = {}
# DANE: fine on both sides; a record of another key; a host that does not offer TLS at all; no need of any authority.
zone("east.example", f"_25._tcp.mx TLSA {world.tlsa(east[0])}", where=EAST, signed=True)
zone("west.example", f"_25._tcp.mx TLSA {world.tlsa(west[0])}", signed=True)
zone("other.example", f"_25._tcp.mx TLSA {world.tlsa(west[0])}", signed=True)
zone("clear.example", f"_25._tcp.mx TLSA {world.tlsa(west[0])}", where=CLEAR, signed=True)
zone("unknown.example", f"_25._tcp.mx TLSA {world.tlsa(unknown[0])}", signed=True)
# A record that nobody signed says nothing.
zone("unsigned.example", f"_25._tcp.mx TLSA {world.tlsa(east[0])}")
# MTA-STS: fine; a certificate for another name; a host that the policy does not name; no TLS; only a test.
policy("sts.example", "enforce", "mx.sts.example")
policy("sts-name.example", "enforce", "mx.sts-name.example")
policy("sts-host.example", "enforce", "*.elsewhere.example")
policy("sts-clear.example", "enforce", "mx.sts-clear.example", where=CLEAR)
policy("sts-test.example", "testing", "mx.sts-test.example")
WEST_DOMAINS = ["west.example", "other.example", "clear.example", "unknown.example", "unsigned.example", *(name.removeprefix("mta-sts.") for name in texts)]

certificates = "".join(
    f'[[tls.certificates]]\nnames = ["{name}"]\ncertificate = "{pair[0]}"\nkey = "{pair[1]}"\n\n'
    for name, pair in (("mx.other.example", other), ("mx.unknown.example", unknown), ("mx.sts.example", sts))
)
clear = f'[[listener]]\nname = "clear"\nspeaks = "smtp"\nlisten = ["{CLEAR}:25"]\ntls = "none"\n\n'
RETRY = '[queue]\nretry_first = "1 h"\n\n'
here = world.Posthorn("mx.east.example", EAST, names, (*east, authority.file), RETRY)
there = world.Posthorn("mx.west.example", WEST, names, (*west, authority.file), RETRY + certificates + clear)


class Policies(http.server.BaseHTTPRequestHandler):
    """What policy servers say."""

    def do_GET(self):
        print(self.headers["host"], self.path, flush=True)
        text = texts.get(self.headers["host"], "") if self.path == "/.well-known/mta-sts.txt" else ""
        self.send_response(200 if text else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


def policy_server():
    server = http.server.ThreadingHTTPServer((POLICIES, 443), Policies)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(*texts))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def send(recipient, subject="hello"):
    here.submit("ann@east.example", [recipient], rig.message(subject, From="ann@east.example"))


def delivered(domain, wanted):
    """It arrives, and the trace says how it was secured."""
    recipient = f"bob@{domain}"
    send(recipient, f"to {domain}")
    (detail,) = here.traced(recipient, "delivered")
    assert re.fullmatch(rf"TLSv1\.3 \S+ {wanted}", detail["tls"]), detail
    return detail


def kept_back(domain, wanted):
    """It waits, and the trace says why."""
    recipient = f"bob@{domain}"
    send(recipient, f"to {domain}")
    (detail,) = here.traced(recipient, "deferred")
    assert re.search(wanted, detail["reply"]), detail
    assert re.match(r"4\.7\.\d+ |4\d\d 4\.7\.\d+ ", detail["reply"]), detail
    return detail


policy_server()
with names.serving(), here.serving(), there.serving():
    here.people("ann@east.example")
    there.people(*(f"bob@{domain}" for domain in WEST_DOMAINS))

    with rig.step("DANE: there and back"):
        delivered("west.example", "dane-ee")
        there.submit("bob@west.example", ["ann@east.example"], rig.message("and back", From="bob@west.example"))
        (detail,) = there.traced("ann@east.example", "delivered")
        assert "dane-ee" in detail["tls"], detail
        (octets,) = there.inbox("bob@west.example")
        assert b"with ESMTPS" in octets and b"Subject: to west.example" in octets

    with rig.step("DANE: a certificate of an authority that nobody knows is as good"):
        delivered("unknown.example", "dane-ee")

    with rig.step("DANE: a record of another key"):
        kept_back("other.example", "(?i)tlsa|dane")

    with rig.step("DANE: a host that offers no TLS"):
        kept_back("clear.example", "(?i)tls")

    with rig.step("an unsigned record is none"):
        delivered("unsigned.example", "unverified")

    with rig.step("MTA-STS: enforced and fulfilled"):
        delivered("sts.example", "verified")

    with rig.step("MTA-STS: a certificate for another name"):
        kept_back("sts-name.example", "(?i)name|certificate")

    with rig.step("MTA-STS: a host that the policy does not name"):
        kept_back("sts-host.example", "(?i)mta-sts")

    with rig.step("MTA-STS: a host that offers no TLS"):
        kept_back("sts-clear.example", "(?i)tls")

    with rig.step("MTA-STS: a policy in testing keeps nothing back"):
        delivered("sts-test.example", "unverified")

    with rig.step("what was kept back leaves when the record is right"):
        assert sorted(one["recipient"] for one in here.queue()) == ["bob@clear.example", "bob@other.example", "bob@sts-clear.example", "bob@sts-host.example", "bob@sts-name.example"]
        assert not there.inbox("bob@other.example")
        zone("other.example", f"_25._tcp.mx TLSA {world.tlsa(other[0])}", signed=True)

        def again():
            # What is known of a domain is kept for a while.
            time.sleep(3)
            here.ask("queue", "retry", "--domain", "other.example")
            return not here.queue("--domain", "other.example")

        rig.eventually(again, 60)
        (detail,) = here.traced("bob@other.example", "delivered")
        assert "dane-ee" in detail["tls"], detail
        assert len(there.inbox("bob@other.example")) == 1
