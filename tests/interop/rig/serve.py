"""A further server of a test's own, started by `posthorn serve --config FILE` on the same database."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time

import rig


def free_ports(count):
    """Ports that nobody has just now."""
    held = [socket.create_server((rig.HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@contextlib.contextmanager
def serving(rows, ports):
    """Serves while the block runs. `rows` is TOML. Gives the server's log as a function."""
    home = rig.folder("serve")
    config, log = home / "posthorn.toml", home / "log"
    config.write_text(
        f'[server]\nhostname = "second.example"\ndata = "{home}/data"\n\n[database]\nurl = "{os.environ["DATABASE_URL"]}"\n\n'
        f'[tls]\ncertificate = "{rig.CAFILE}"\nkey = "{rig.CAFILE.replace("certificate.pem", "key.pem")}"\n\n[checks]\nenable = false\n\n' + rows
    )
    rig.run(os.environ["POSTHORN"], "--config", config, "config", "check")
    with log.open("wb") as out:
        server = subprocess.Popen([os.environ["POSTHORN"], "--config", config, "serve"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        for port in ports:
            rig.eventually(lambda port=port: is_open(port) or server.poll() is not None)
        assert server.poll() is None, "the server did not start"
        yield log.read_text
        server.send_signal(signal.SIGTERM)
        assert server.wait(40) == 0, "it ends quietly"
        assert not re.search("panicked at", log.read_text())
    except BaseException:
        print(log.read_text()[-4000:])
        raise
    finally:
        server.kill()
        server.wait()


def is_open(port):
    try:
        socket.create_connection((rig.HOST, port), timeout=5).close()
    except OSError:
        time.sleep(0.05)
        return False
    return True
