"""Postfix's smtp-source has 10,000 messages pass the content filter to smtp-sink, every one of them once; and with fewer places than Postfix
has connections, Postfix comes again and loses nothing."""
# needs: namespaces ip openssl postfix smtp-source smtp-sink

import re
import subprocess
import time

import rig
import world

world.enter()

MESSAGES, SESSIONS, PLACES = 10_000, 20, 3
names = world.Names()
HERE, THEIRS, CLIENT = (world.address(last) for last in (10, 20, 30))
names.put("there.example", f"@ MX 10 mx\nmx A {THEIRS}\n")
names.put("sender.example", f'@ A {CLIENT}\n@ TXT "v=spf1 ip4:{CLIENT} -all"\n')
ours = world.Posthorn(
    "mail.rules.example", HERE, names, world.Authority().issue("mail.rules.example"),
    '[[listener]]\nname = "wide"\nspeaks = "filter"\nlisten = ["127.0.0.1:10034"]\nfilter = { next_hop = "127.0.0.1:10035" }\n\n'
    f'[[listener]]\nname = "narrow"\nspeaks = "filter"\nlisten = ["127.0.0.1:10024"]\nlistener_sessions = {PLACES}\n\n',
)  # fmt: skip
theirs = world.Postfix(
    "mx.there.example", THEIRS, ["there.example"], content_filter="smtp:[127.0.0.1]:10024", minimal_backoff_time="2s", queue_run_delay="2s",
    maximal_backoff_time="4s", smtp_bind_address="127.0.0.1", default_destination_concurrency_limit=str(SESSIONS), initial_destination_concurrency=str(SESSIONS),
    default_destination_concurrency_failed_cohort_limit="100",
)  # fmt: skip
theirs.services += "127.0.0.1:10025 inet n - n - - smtpd -o content_filter= -o mynetworks=127.0.0.0/8 -o smtpd_authorized_xforward_hosts=127.0.0.0/8\n"


def source(port, count, where="127.0.0.1", *more):
    began = time.monotonic()
    # fmt: off
    said = rig.run("smtp-source", "-s", SESSIONS, "-m", count, "-l", 2048, "-f", "ann@sender.example", "-t", "bob@there.example", *more,
                   f"inet:{where}:{port}", timeout=280)
    # fmt: on
    assert not said.strip(), "smtp-source complained"
    print(f"{count / (time.monotonic() - began):.0f} messages/s", flush=True)


with names.serving(), ours.serving():
    kept = rig.folder("sink") / "log"
    with kept.open("wb") as log:
        sink = subprocess.Popen(["smtp-sink", "-u", "nobody", "-c", "127.0.0.1:10035", "100"], stdout=log, stderr=log)
        rig.eventually(lambda: world.opens("127.0.0.1", 10035))
        with rig.step(f"{MESSAGES} messages in {SESSIONS} sessions pass"):
            source(10034, MESSAGES, "127.0.0.1", "-d")
        sink.terminate()
        sink.wait()
    # smtp-sink's counter overwrites itself, its last word is the sum of all messages.
    counts = re.findall(rb"mesg=(\d+)", kept.read_bytes())
    assert max(map(int, counts)) == MESSAGES, counts[-3:]

    with theirs.serving(), rig.step(f"{PLACES} places for {SESSIONS} connections: Postfix comes again, and nothing is lost"):
        source(25, 300, THEIRS)
        arrived = lambda: len(list(theirs.mail.glob("all/new/*")))
        rig.eventually(lambda: arrived() == 300 or time.sleep(1), 200)
        time.sleep(2)
        assert arrived() == 300, "every one of them once"
        log = theirs.log()
        refused = re.findall(r"\(host 127\.0\.0\.1\[127\.0\.0\.1\] (?:said|refused to talk to me): (\d{3}) ", log)
        print(len(refused), "were told to come again")
        assert refused and set(refused) == {"421"}, set(refused)
        assert "timed out" not in log and "status=bounced" not in log
