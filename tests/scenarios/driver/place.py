"""The private network of one scenario: who has which address."""


class Place:
    """A network without a way out; hosts are numbered by name, as in NixOS tests."""

    def __init__(self, network, number, names):
        self.network = network
        self.number = number
        self.names = sorted(names)

    def _of(self, name):
        return self.names.index(name) + 11

    def subnets(self):
        """Both families."""
        return [f"192.168.{self.number}.0/24", f"fd00:192:168:{self.number}::/64"]

    def address(self, name, family):
        """The address of a host."""
        if family == 4:
            return f"192.168.{self.number}.{self._of(name)}"
        return f"fd00:192:168:{self.number}::{self._of(name)}"

    def hardware(self, name):
        """The hardware address of a host."""
        return f"52:54:00:12:{self.number:02x}:{self._of(name):02x}"

    def hosts(self):
        """Everybody, for /etc/hosts."""
        return [f"{name}:{self.address(name, family)}" for name in self.names for family in (4, 6)]
