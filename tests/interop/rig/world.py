"""A small internet of a test's own: network, mounts and processes of its own, names by the signed DNS server of the tests,
certificates by an authority of its own, and hosts at documentation addresses, each on the real ports.

`enter()` starts the test once more inside; everything that runs there ends with it. Nothing can leave: the only
network is the loopback."""

import contextlib
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path

import rig

POSTHORN = os.environ["POSTHORN"]
PASSWORD = "a long enough password"
# Where everybody asks for names.
RESOLVER = "127.0.0.1"


def enter():
    """Goes on inside a world of this test's own."""
    if os.environ.get("POSTHORN_WORLD") != "inside":
        os.environ["POSTHORN_WORLD"] = "inside"
        # fmt: off
        os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv])
        # fmt: on
    rig.run("ip", "link", "set", "lo", "up")
    put("/etc/resolv.conf", f"nameserver {RESOLVER}\noptions timeout:2 attempts:2\n")
    put("/etc/hosts", "127.0.0.1 localhost\n")
    put("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n")


def put(path, text):
    """Lays a text over a file of the machine, here inside only."""
    over = rig.folder("over") / "file"
    over.write_text(text)
    over.parent.chmod(0o711)
    over.chmod(0o644)
    real = os.path.realpath(path)
    if os.path.exists(real):
        subprocess.run(["mount", "--bind", over, real], check=True)


def place(name):
    """A folder that daemons which give up being root can pass."""
    folder = rig.folder(name)
    folder.chmod(0o755)
    return folder


def address(last):
    """An address for a host: 192.0.2.LAST."""
    subprocess.run(["ip", "address", "replace", f"192.0.2.{last}/32", "dev", "lo"], check=True)
    return f"192.0.2.{last}"


class Names:
    """The DNS server. Zones are texts; `put` again to change one."""

    def __init__(self):
        self.folder = place("dns")
        self.zones = {}
        self.server = None
        self.edition = 0
        self.anchor = self.folder / "anchor"

    def put(self, apex, text, signed=False):
        file = self.folder / f"{apex}.zone"
        fresh = file.with_suffix(".new")
        self.edition += 1
        mark = f"edition-{self.edition}"
        fresh.write_text(text + f'\nedition 0 TXT "{mark}"\n')
        fresh.replace(file)
        self.zones[apex] = f"{'signed:' if signed else ''}{apex}={file}"
        if self.server:
            rig.eventually(lambda: mark.encode() in asked(f"edition.{apex}", 16))

    @contextlib.contextmanager
    def serving(self):
        program = os.environ["POSTHORN_DNS"]
        log = (self.folder / "log").open("wb")
        with subprocess.Popen(
            [program, f"{RESOLVER}:53", self.anchor, *self.zones.values()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as server:
            try:
                assert server.stdout.readline().startswith(b"ready"), (self.folder / "log").read_text()
                self.server = server
                yield self
                assert server.poll() is None, (self.folder / "log").read_text()
            finally:
                server.kill()


def asked(name, kind):
    """The octets of an answer by UDP, nothing when there is none."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(2)
        one.sendto(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + bytes([0, 0, kind, 0, 1]), (RESOLVER, 53))
        try:
            return one.recv(4096)
        except TimeoutError:
            return b""


class Authority:
    """Whoever signs certificates."""

    def __init__(self):
        self.folder = place("ca")
        self.file = self.folder / "ca.pem"
        self._openssl("req", "-x509", *KEY, "-keyout", self.folder / "ca.key", "-out", self.file, "-days", "30", "-subj", "/CN=Test authority")

    def issue(self, *names):
        """A certificate with its key: two files, readable to all."""
        stem = self.folder / names[0]
        key, request, chain = (stem.with_name(f"{stem.name}.{end}") for end in ("key", "csr", "pem"))
        extra = stem.with_name(f"{stem.name}.ext")
        extra.write_text(f"subjectAltName={','.join('DNS:' + name for name in names)}\nbasicConstraints=CA:FALSE\n")
        self._openssl("req", *KEY, "-keyout", key, "-out", request, "-subj", f"/CN={names[0]}")
        # fmt: off
        self._openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.folder / "ca.key", "-CAcreateserial",
                      "-days", "20", "-extfile", extra, "-out", chain)
        # fmt: on
        key.chmod(0o644)
        return chain, key

    @staticmethod
    def _openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def tlsa(chain):
    """The data of a TLSA record 3 1 1 for a certificate."""
    public = subprocess.run(["openssl", "x509", "-in", chain, "-noout", "-pubkey"], check=True, stdout=subprocess.PIPE).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, check=True, stdout=subprocess.PIPE).stdout
    return f"3 1 1 {hashlib.sha256(der).hexdigest()}"


class Posthorn:
    """An appliance with a database of its own, on the real ports of its address."""

    def __init__(self, hostname, where, names, certificate, rows=""):
        self.hostname, self.address = hostname, where
        self.home = place("posthorn")
        self.config = self.home / "posthorn.toml"
        services = {"smtp": 25, "submission": 587, "submissions": 465, "imaps": 993}
        listeners = "".join(f'[[listener]]\nname = "{name}"\nspeaks = "{name}"\nlisten = ["{where}:{port}"]\n\n' for name, port in services.items())
        self.config.write_text(
            f'[server]\nhostname = "{hostname}"\ndata = "{self.home}/data"\n\n'
            f'[tls]\ncertificate = "{certificate[0]}"\nkey = "{certificate[1]}"\n{{authorities}}\n\n'.format(
                authorities=f'authorities = "{certificate[2]}"' if len(certificate) > 2 else ""
            )
            + f'[dns]\nservers = ["{RESOLVER}:53"]\ntrust_anchor = "{names.anchor}"\ntimeout = "2 s"\ncache = 0\n\n'
            + f'[[binding]]\nname = "default"\naddresses = ["{where}"]\n\n'
            + listeners
            + rows
        )

    @contextlib.contextmanager
    def serving(self):
        """Runs while the block does; must start, end quietly, and not panic."""
        self.ask("config", "check")
        log = self.home / "log"
        with log.open("wb") as out:
            server = subprocess.Popen([POSTHORN, "--config", self.config, "serve"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            rig.eventually(lambda: opens(self.address, 993) or server.poll() is not None, 60)
            assert server.poll() is None, "it did not start"
            yield self
            server.send_signal(signal.SIGTERM)
            assert server.wait(40) == 0, "it ends quietly"
            assert "panicked at" not in log.read_text()
        except BaseException:
            lines = [line for line in log.read_text().splitlines() if "logged in" not in line]
            print(f"log of {self.hostname}:", *lines[-30:], sep="\n", flush=True)
            raise
        finally:
            server.kill()
            server.wait()

    def log(self):
        return re.sub(r"\x1b\[[0-9;]*m", "", (self.home / "log").read_text())

    def ask(self, *command, status=0, stdin=None):
        """Runs a command of the program and gives what it printed."""
        return rig.run(POSTHORN, "--config", self.config, *command, status=status, stdin=stdin)

    def json(self, *command, status=0):
        """The same, as data."""
        done = subprocess.run([POSTHORN, "--config", self.config, "--json", *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert done.returncode == status, (command, done)
        return json.loads(done.stdout)

    def people(self, *addresses):
        """Adds accounts, and their domains."""
        for domain in dict.fromkeys(one.split("@")[1] for one in addresses):
            self.ask("domain", "add", domain)
        for one in addresses:
            self.ask("account", "add", one, "--password-stdin", stdin=PASSWORD + "\n")

    def submit(self, sender, recipients, octets, options=(), recipient_options=()):
        """Hands a message in by TLS with a login. Gives the id that the sender is told."""
        with smtplib.SMTP_SSL(self.address, 465, timeout=60, context=careless()) as smtp:
            smtp.login(sender, PASSWORD)
            return transaction(smtp, sender, recipients, octets, options, recipient_options)

    def trace(self, recipient):
        """What is known of the latest message to somebody: kinds with their details, in order."""
        found = self.json("trace", "--to", recipient, "--limit", 1)
        return [(entry["what"], entry["detail"]) for entry in found[0]["entries"]] if found else []

    def traced(self, recipient, what, seconds=30, count=1):
        """Waits until the trace has that many entries of a kind, prints the timeline, and gives their details."""
        def there():
            found = [detail for kind, detail in self.trace(recipient) if kind == what and about(detail, recipient)]
            return found if len(found) >= count else None

        try:
            found = rig.eventually(there, seconds)
        except AssertionError:
            self.ask("trace", "--to", recipient, status=None)
            self.ask("queue", "list", status=None)
            raise
        self.ask("trace", "--to", recipient, "--limit", 1)
        return found

    def inbox(self, owner, mailbox="INBOX"):
        """The messages of an account."""
        import imaplib

        imap = imaplib.IMAP4_SSL(self.address, 993, ssl_context=careless(), timeout=30)
        imap.login(owner, PASSWORD)
        imap.select(mailbox, readonly=True)
        uids = imap.uid("SEARCH", "ALL")[1][0].split()
        octets = [imap.uid("FETCH", uid.decode(), "(BODY.PEEK[])")[1][0][1] for uid in uids]
        imap.logout()
        return octets

    def report(self, owner, token, seconds=40):
        """Waits for a message of an account that holds these octets."""
        def there():
            found = [octets for octets in self.inbox(owner) if token in octets]
            # A login for each look.
            return found or time.sleep(0.3)

        return rig.eventually(there, seconds)[-1]

    def sql(self, statement):
        """What the appliance's own database says."""
        (pid,) = self.home.glob("data/**/postmaster.pid")
        lines = pid.read_text().splitlines()
        command = ["psql", "-h", lines[4], "-p", lines[3], "-U", "posthorn", "-d", "posthorn", "-Atc", statement]
        return rig.run("runuser", "-u", pid.owner(), "--", *command)

    def queue(self, *conditions):
        """Deliveries that wait."""
        return self.json("queue", "list", *conditions)


def about(detail, recipient):
    return not isinstance(detail, dict) or detail.get("recipient", recipient) == recipient


def transaction(smtp, sender, recipients, octets, options=(), recipient_options=()):
    """One message, with parameters; fails when anything is refused."""
    smtp.ehlo("client.example")
    for code, reply in [smtp.mail(sender, list(options)), *[smtp.rcpt(one, list(recipient_options)) for one in recipients]]:
        assert code == 250, reply
    code, reply = smtp.data(octets)
    assert code == 250, reply
    return reply.decode()


def careless():
    """TLS to ourselves, with whatever certificate."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def opens(where, port):
    try:
        socket.create_connection((where, port), timeout=5).close()
    except OSError:
        time.sleep(0.05)
        return False
    return True


class Postfix:
    """Postfix as somebody else's server. Its mail is put into one folder, a file for each message and recipient."""

    def __init__(self, hostname, where, domains, **settings):
        self.hostname, self.address, self.domains = hostname, where, domains
        self.home = place("postfix")
        self.etc, self.mail = self.home / "etc", self.home / "mail"
        for name in ("etc", "spool", "data", "mail"):
            (self.home / name).mkdir()
        owner = pwd.getpwnam("postfix")
        os.chown(self.home / "data", owner.pw_uid, -1)
        os.chown(self.mail, owner.pw_uid, -1)
        (self.etc / "recipients").write_text("".join(f"@{domain} all/\n" for domain in domains))
        (self.etc / "recipients").chmod(0o644)
        everything = {
            "compatibility_level": "3.6",
            "queue_directory": self.home / "spool",
            "data_directory": self.home / "data",
            "maillog_file": self.home / "log",
            "maillog_file_prefixes": self.home,
            "myhostname": hostname,
            "mydestination": "",
            "inet_interfaces": where,
            "inet_protocols": "ipv4",
            "smtp_bind_address": where,
            "mynetworks": "127.0.0.1/32",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "virtual_mailbox_domains": " ".join(domains),
            "virtual_mailbox_base": self.mail,
            "virtual_mailbox_maps": f"texthash:{self.etc}/recipients",
            "virtual_uid_maps": f"static:{owner.pw_uid}",
            "virtual_gid_maps": f"static:{owner.pw_gid}",
            "virtual_minimum_uid": "1",
            "smtpd_relay_restrictions": "permit_mynetworks reject_unauth_destination",
            "smtpd_peername_lookup": "no",
            "smtpd_banner": "$myhostname ESMTP",
            **settings,
        }
        (self.etc / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in everything.items()))
        self.services = SERVICES

    @contextlib.contextmanager
    def serving(self):
        (self.etc / "master.cf").write_text(self.services)
        rig.run("postfix", "-c", self.etc, "start")
        try:
            rig.eventually(lambda: opens(self.address, 25))
            yield self
        except BaseException:
            print(f"log of {self.hostname}:\n{self.log()[-6000:]}", flush=True)
            raise
        finally:
            rig.run("postfix", "-c", self.etc, "abort", status=None)

    def log(self):
        log = self.home / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def received(self, token, count=1, seconds=30):
        """Waits for messages that hold these octets, and gives them with CRLF line ends."""
        def there():
            all_of_it = [file.read_bytes() for file in self.mail.glob("all/new/*")]
            found = [octets for octets in all_of_it if token in octets]
            return found if len(found) >= count else None

        return [re.sub(rb"(?<!\r)\n", b"\r\n", octets) for octets in rig.eventually(there, seconds)]


SERVICES = """\
smtp       inet  n  -  n  -  -  smtpd
pickup     unix  n  -  n  60 1  pickup
cleanup    unix  n  -  n  -  0  cleanup
qmgr       unix  n  -  n  300 1 qmgr
tlsmgr     unix  -  -  n  1000? 1 tlsmgr
rewrite    unix  -  -  n  -  -  trivial-rewrite
bounce     unix  -  -  n  -  0  bounce
defer      unix  -  -  n  -  0  bounce
trace      unix  -  -  n  -  0  bounce
verify     unix  -  -  n  -  1  verify
flush      unix  n  -  n  1000? 0 flush
proxymap   unix  -  -  n  -  -  proxymap
proxywrite unix  -  -  n  -  1  proxymap
smtp       unix  -  -  n  -  -  smtp
relay      unix  -  -  n  -  -  smtp
showq      unix  n  -  n  -  -  showq
error      unix  -  -  n  -  -  error
retry      unix  -  -  n  -  -  error
discard    unix  -  -  n  -  -  discard
local      unix  -  n  n  -  -  local
virtual    unix  -  n  n  -  -  virtual
lmtp       unix  -  -  n  -  -  lmtp
anvil      unix  -  -  n  -  1  anvil
scache     unix  -  -  n  -  1  scache
postlog    unix-dgram n - n - 1 postlogd
"""


def background(*command, ready, seconds=30):
    """Starts a daemon in the foreground and waits until it is ready. It ends with the world."""
    print("$", *command, "&", flush=True)
    daemon = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL)
    rig.eventually(lambda: ready() or daemon.poll() is not None, seconds)
    assert daemon.poll() is None, f"{command[0]} did not start"
    return daemon


class Exim:
    """Exim as somebody else's server. Of its addresses `nobody@` does not exist and `full@` has no room just now."""

    def __init__(self, hostname, where, domain, certificate):
        self.hostname, self.address = hostname, where
        self.home = place("exim")
        self.mail = self.home / "mail"
        if "Debian-exim:" not in Path("/etc/passwd").read_text():
            put("/etc/passwd", Path("/etc/passwd").read_text() + "Debian-exim:x:64000:64000::/nonexistent:/usr/sbin/nologin\n")
            put("/etc/group", Path("/etc/group").read_text() + "Debian-exim:x:64000:\n")
        owner = pwd.getpwnam("Debian-exim")
        for name in ("spool", "log", "mail"):
            (self.home / name).mkdir()
            os.chown(self.home / name, owner.pw_uid, owner.pw_gid)
        chain, key = certificate
        # It starts itself again after it gave up being root, and not every folder of programs can be passed then.
        self.program = self.home / "exim4"
        shutil.copy(shutil.which("exim4"), self.program)
        self.config = self.home / "exim.conf"
        self.config.write_text(f"""\
primary_hostname = {hostname}
log_selector = +smtp_connection
exim_path = {self.program}
spool_directory = {self.home}/spool
log_file_path = {self.home}/log/%slog
pid_file_path = {self.home}/spool/daemon.pid
local_interfaces = {where}
daemon_smtp_ports = 25
deliver_drop_privilege = true
never_users =
acl_smtp_rcpt = recipient
dsn_advertise_hosts = *
prdr_enable = true
tls_advertise_hosts = *
tls_certificate = {chain}
tls_privatekey = {key}
keep_environment =
begin acl
recipient:
  deny local_parts = nobody
       message = 5.1.1 there is nobody of that name
  defer local_parts = full
       message = 4.2.2 the mailbox is full
  accept domains = {domain}
  deny message = 5.7.1 we are not for that
begin routers
outside:
  driver = dnslookup
  domains = !{domain}
  transport = out
  no_more
all:
  driver = accept
  transport = put
begin transports
out:
  driver = smtp
  interface = {where}
put:
  driver = appendfile
  directory = {self.mail}/all
  maildir_format
  batch_max = 100
  envelope_to_add
  return_path_add
  user = {owner.pw_uid}
  group = {owner.pw_gid}
""")

    @contextlib.contextmanager
    def serving(self):
        server = background(self.program, "-C", self.config, "-bdf", "-q1m", ready=lambda: opens(self.address, 25))
        try:
            yield self
        except BaseException:
            print(f"log of {self.hostname}:\n{self.log()[-6000:]}", flush=True)
            raise
        finally:
            server.terminate()
            server.wait()

    def log(self):
        return "".join(file.read_text(errors="replace") for file in sorted((self.home / "log").iterdir()))

    received = Postfix.received
