# The firewall follows from the listeners: public protocols on addresses that the world can reach, and nothing else.
{ lib, listeners }:
instance: lib.optionals instance.openFirewall (listeners.publicPorts instance.listeners)
