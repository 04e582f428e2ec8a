"""A disk that loses power: a file behind FUSE whose writes are volatile until they are flushed, as in a drive's cache.

Runs as a process of its own: disk.py MOUNTPOINT IMAGE SEED. The file MOUNTPOINT/disk has IMAGE's content and size. A write
is answered at once and kept apart; FSYNC, which is what a loop device makes of its flushes, moves it into IMAGE. A line on
standard input cuts the power: of the writes not yet flushed some survive, in any order, the last of those in part; whatever
comes later fails. Half of the cuts strike at once, the others at the next flush, which then never happens: there most is held. A
line with the number of writes held back and survived is printed, and IMAGE is what a machine finds
when it starts again. Only the little of the kernel's FUSE protocol that one file needs is spoken here.
"""

import ctypes
import errno
import os
import random
import select
import struct
import sys

HEAD = struct.Struct("<IIQQIIIHH")
ANSWER = struct.Struct("<IiQ")
WRITE = struct.Struct("<QQIIQII")
READ = struct.Struct("<QQI")
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ_, WRITE_, RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, BATCH_FORGET = 1, 2, 3, 4, 14, 15, 16, 18, 20, 25, 26, 36, 42
LARGEST = 1 << 20
SECTOR = 512
FOREVER = 1 << 30


class Disk:
    def __init__(self, image, seed):
        self.durable = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.durable).st_size
        # What the machine sees; without a name, so that it is gone with us.
        self.current = os.open(os.path.dirname(image), os.O_RDWR | os.O_TMPFILE, 0o600)
        os.truncate(self.current, self.size)
        at = 0
        while at < self.size:
            try:
                at = os.lseek(self.durable, at, os.SEEK_DATA)
            except OSError:
                break
            octets = os.pread(self.durable, LARGEST, at)
            os.pwrite(self.current, octets, at)
            at += len(octets)
        self.held, self.flushes, self.on, self.armed = [], 0, True, False
        self.chance = random.Random(seed)

    def answer(self, opcode, node, body):
        """The reply's octets, or an error number."""
        if opcode == INIT:
            _major, _minor, ahead, flags = struct.unpack_from("<IIII", body)
            # Large writes in one request.
            flags &= 1 << 5 | 1 << 22
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, ahead, flags, 12, 9, LARGEST, 1, LARGEST // 4096, 0, 0)
        if opcode == LOOKUP:
            if bytes(body).rstrip(b"\0") != b"disk":
                return errno.ENOENT
            return struct.pack("<QQQQII", 2, 0, FOREVER, FOREVER, 0, 0) + self.attributes(2)
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", FOREVER, 0, 0) + self.attributes(node)
        if opcode == OPEN:
            return struct.pack("<QII", 0, 0, 0)
        if opcode in (RELEASE, FLUSH):
            return b""
        return self.input_output(opcode, body)

    def input_output(self, opcode, body):
        if opcode not in (READ_, WRITE_, FSYNC):
            return errno.ENOSYS
        if not self.on:
            return errno.EIO
        if opcode == READ_:
            _handle, offset, size = READ.unpack_from(body)
            return os.pread(self.current, size, offset)
        if opcode == WRITE_:
            _handle, offset, size, *_ = WRITE.unpack_from(body)
            octets = bytes(body[WRITE.size : WRITE.size + size])
            os.pwrite(self.current, octets, offset)
            self.held.append((offset, octets))
            return struct.pack("<II", size, 0)
        if self.armed and self.held:
            self.cut()
            return errno.EIO
        for offset, octets in self.held:
            os.pwrite(self.durable, octets, offset)
        self.held.clear()
        self.flushes += 1
        return b""

    def attributes(self, node):
        mode, size = (0o040755, 0) if node == 1 else (0o100600, self.size)
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // SECTOR, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def strike(self):
        self.armed = True
        if self.chance.random() < 0.5:
            self.cut()

    def cut(self):
        """Any of the writes held may have reached the medium before others; sectors are written whole."""
        self.on = self.armed = False
        share = self.chance.choice((0.0, 0.3, 0.7, 1.0))
        survived = [write for write in self.held if self.chance.random() < share]
        if survived:
            offset, octets = survived.pop()
            survived.append((offset, octets[: self.chance.randint(0, len(octets) // SECTOR) * SECTOR]))
        for offset, octets in survived:
            os.pwrite(self.durable, octets, offset)
        print(len(self.held), len(survived), self.flushes, flush=True)


def mount(folder):
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    if libc.mount(b"posthorn-disk", folder.encode(), b"fuse", 0, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"FUSE cannot be mounted: {os.strerror(number)}")
    return device


def main():
    folder, image, seed = sys.argv[1:]
    disk = Disk(image, seed)
    device = mount(folder)
    print("ready", flush=True)
    waiting = [device, sys.stdin]
    while True:
        # A disk that nobody writes to is cut all the same.
        ready, _, _ = select.select(waiting, [], [], 0.5 if disk.armed else None)
        if disk.armed and not ready:
            disk.cut()
        if sys.stdin in ready:
            if not sys.stdin.readline():
                waiting.remove(sys.stdin)
            else:
                disk.strike()
        if device in ready:
            try:
                request = memoryview(os.read(device, LARGEST + 4096))
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                raise
            _length, opcode, unique, node, *_ = HEAD.unpack_from(request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            told = disk.answer(opcode, node, request[HEAD.size :])
            number, octets = (-told, b"") if isinstance(told, int) else (0, told)
            try:
                os.write(device, ANSWER.pack(ANSWER.size + len(octets), number, unique) + octets)
            except FileNotFoundError:
                # Whoever asked was interrupted.
                pass


if __name__ == "__main__":
    main()
