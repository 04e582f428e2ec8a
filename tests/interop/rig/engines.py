"""Engines of other people, each in a folder of its own: clamd with signatures of our own, rspamd, spamd, opendkim, amavisd."""

import base64
import binascii
import os
import pwd
import signal
import subprocess

import rig
import world

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"
# They take as long as their rules are many.
SLOW = 60


def own(folder, user):
    """Gives a folder to the user that a daemon becomes."""
    os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    return folder


class Engine:
    """A daemon that can be killed and started again."""

    def __init__(self, port, *command):
        self.port, self.command = port, command
        self.start()

    def start(self):
        self.daemon = world.background(*self.command, ready=lambda: world.opens("127.0.0.1", self.port), seconds=SLOW)

    def kill(self):
        """It and its children are gone at once."""
        children = self.pids()[1:]
        self.daemon.kill()
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.daemon.wait()
        rig.eventually(lambda: not world.opens("127.0.0.1", self.port))

    def pids(self):
        """It and its children."""
        children = subprocess.run(["pgrep", "-P", str(self.daemon.pid)], stdout=subprocess.PIPE, text=True, check=False).stdout.split()
        return [self.daemon.pid, *map(int, children)]

    def hang(self):
        """It takes connections and says nothing."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def go_on(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)


def clamd():
    """With signatures of our own and no others."""
    home = world.place("clamd")
    (home / "db").mkdir()
    signature = lambda name, place, octets: f"{name}:0:{place}:{binascii.hexlify(octets).decode()}\n"
    known = signature("Eicar.Test", 0, EICAR) + signature("Our.Specimen", "*", b"a specimen of our own")
    (home / "db" / "local.ndb").write_text(known)
    (home / "conf").write_text(
        f"LocalSocket {home}/socket\nTCPSocket 3310\nTCPAddr 127.0.0.1\nDatabaseDirectory {home}/db\nForeground yes\n"
        f"LogFile {home}/log\nStreamMaxLength 1M\nMaxThreads 4\n"
    )
    return home / "socket", Engine(3310, "clamd", "-c", home / "conf")


def rspamd(more=""):
    home = world.place("rspamd")
    (home / "tld").write_text("com\nexample\n")
    (home / "conf").write_text(
        f'options {{ filters = "regexp"; dns {{ nameserver = ["127.0.0.1"]; timeout = 1s; retransmits = 1; }} cache_file = "{home}/cache"; '
        f'control_socket = "{home}/control"; tempdir = "{home}"; pidfile = "{home}/pid"; url_tld = "{home}/tld"; rrd = ""; '
        f'history_file = "{home}/history"; }}\n'
        f'logging {{ type = "file"; filename = "{home}/log"; level = "info"; }}\n'
        'lua = "/usr/share/rspamd/rules/rspamd.lua";\nactions { reject = 15; add_header = 6; greylist = 4; }\n'
        'worker "normal" { bind_socket = "127.0.0.1:11333"; count = 1; }\n' + more
    )
    return Engine(11333, "rspamd", "-f", "-i", "-c", home / "conf")


def spamd():
    home = own(world.place("spamd"), "debian-spamd")
    return Engine(7830, "spamd", "-i", "127.0.0.1", "-p", "7830", "-m", "2", "-L", "-x", "-u", "debian-spamd", "-H", home, "-s", "null")


def opendkim():
    """It verifies what comes from anywhere."""
    home = world.place("opendkim")
    (home / "internal").write_text("10.255.255.1\n")
    (home / "conf").write_text(
        "Syslog no\nMode v\nSocket inet:8891@127.0.0.1\nUserID opendkim\nAlwaysAddARHeader yes\nAuthservID milter.here.example\n"
        f"InternalHosts {home}/internal\nBackground no\n"
    )
    return Engine(8891, "opendkim", "-f", "-x", home / "conf")


def amavisd(socket):
    """With SpamAssassin inside and clamd beside it; what it passes comes back to 10025."""
    home = world.place("amavis")
    for name in ("tmp", "q", "db"):
        (home / name).mkdir()
        own(home / name, "amavis")
    own(home, "amavis")
    # It reads nothing that it could write.
    settings = world.place("amavis-settings") / "conf"
    settings.write_text(
        f"""use strict;
$MYHOME = '{home}'; $TEMPBASE = "$MYHOME/tmp"; $QUARANTINEDIR = "$MYHOME/q"; $db_home = "$MYHOME/db";
$lock_file = "$MYHOME/lock"; $pid_file = "$MYHOME/pid"; $daemon_user = 'amavis'; $daemon_group = 'amavis';
$mydomain = 'here.example'; $myhostname = 'filter.here.example';
@local_domains_maps = (['.here.example']); @mynetworks = qw(127.0.0.0/8);
$max_servers = 2; $enable_db = 0; $enable_global_cache = 0; $enable_dkim_verification = 0;
$inet_socket_port = [10024]; $inet_socket_bind = '127.0.0.1';
$forward_method = 'smtp:[127.0.0.1]:10025'; $notify_method = $forward_method;
$DO_SYSLOG = 0; $LOGFILE = "$MYHOME/log"; $log_level = 2;
$sa_local_tests_only = 1; $sa_tag_level_deflt = -999; $sa_tag2_level_deflt = 6.2; $sa_kill_level_deflt = 6.9;
$final_virus_destiny = D_REJECT; $final_banned_destiny = D_REJECT; $final_spam_destiny = D_REJECT; $final_bad_header_destiny = D_PASS;
$virus_quarantine_method = undef; $spam_quarantine_method = undef; $banned_files_quarantine_method = undef;
@av_scanners = (['clamd', \\&ask_daemon, ["CONTSCAN {{}}\\n", '{socket}'], qr/\\bOK$/m, qr/\\bFOUND$/m, qr/^.*?: (.*) FOUND$/m]);
@av_scanners_backup = ();
1;
"""
    )
    return Engine(10024, "amavisd", "-c", settings, "foreground")


def scanner(name, kind, where, **more):
    lines = [f'[[scanner]]\nname = "{name}"\nkind = "{kind}"\naddress = ["{where}"]']
    return "\n".join(lines + [f'{key} = "{value}"' for key, value in more.items()]) + "\n\n"


def attached(octets):
    return (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSee this.\r\n"
        b"--b\r\nContent-Type: application/octet-stream; name=notes.dat\r\nContent-Disposition: attachment; filename=notes.dat\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(octets).replace(b"\n", b"\r\n") + b"--b--\r\n"
    )
