"""A receiver that takes everything and writes down what it took, before it says so: `sink.py FILE`, prints its port.

Each line of the file is the time (of the clock that all processes of a machine share), the Message-ID, the recipient.
"""

import asyncio
import random
import re
import sys
import time

IDENT = re.compile(rb"^message-id:\s*<([^>\r\n]+)>", re.IGNORECASE | re.MULTILINE)
PATH = re.compile(rb"<([^>]*)>")


class Sink:
    def __init__(self, file):
        self.file = file
        self.chance = random.Random(1)

    async def serve(self, reader, writer):
        try:
            await self.session(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def session(self, reader, writer):
        recipients = []
        writer.write(b"220 sink.example\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                octets = await reader.readuntil(b"\r\n.\r\n")
                # Receivers take a moment; this is when a blow hits what is on the wire.
                await asyncio.sleep(self.chance.uniform(0.0, 0.01))
                self.note(octets, recipients)
                writer.write(b"250 2.0.0 taken\r\n")
            elif verb == b"EHLO":
                writer.write(b"250-sink.example\r\n250-PIPELINING\r\n250 SIZE 10000000\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                return
            else:
                if verb == b"MAIL":
                    recipients = []
                elif verb == b"RCPT":
                    recipients.append(PATH.search(line)[1].decode())
                writer.write(b"250 2.0.0 fine\r\n")

    def note(self, octets, recipients):
        known = IDENT.search(octets.split(b"\r\n\r\n", 1)[0])
        ident = known[1].decode() if known else "none"
        self.file.write("".join(f"{time.monotonic():.6f} {ident} {recipient}\n" for recipient in recipients))
        self.file.flush()


async def main():
    with open(sys.argv[1], "a", encoding="utf-8") as file:
        server = await asyncio.start_server(Sink(file).serve, "127.0.0.1", 0, limit=1 << 20)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
