# Listeners: what the presets open, and which of it the world may reach.
{ lib }:
rec {
  # Protocols that are made for the world. What is not named here is internal: no firewall is ever opened for it.
  public = [
    "smtp"
    "submission"
    "submissions"
    "imap"
    "imaps"
  ];

  internal = [
    "lmtp"
    "policy"
    "srs-forward"
    "srs-reverse"
    "filter"
    "reinject"
    "reinject-expand"
    "am-pdp"
    "milter"
    "metrics"
    "release"
  ];

  # The rows of each preset; a port stands for all addresses of the machine, a text for itself. Other keys are those of
  # a `[[listener]]` row.
  presets =
    let
      row = speaks: port: { inherit speaks port; };
      inside = speaks: port: {
        inherit speaks;
        address = "127.0.0.1:${toString port}";
      };
      lmtp = inside "lmtp" 24;
      deciding = {
        policy = inside "policy" 7777;
        srs-forward = inside "srs-forward" 7778;
        srs-reverse = inside "srs-reverse" 7779;
      };
      judging = {
        # Judged mail goes back to 10025, from both.
        filter-inbound = inside "filter" 10024;
        filter-outbound = inside "filter" 10026 // {
          filter = {
            way = "originating";
            next_hop = "127.0.0.1:10025";
          };
        };
        milter = inside "milter" 2500;
        am-pdp = inside "am-pdp" 9998;
      };
      watching.metrics = inside "metrics" 9464;
      sending = {
        submission = row "submission" 587;
        submissions = row "submissions" 465;
      };
      reading = {
        imap = row "imap" 143;
        imaps = row "imaps" 993;
      };
    in
    {
      full = {
        smtp = row "smtp" 25;
        inherit lmtp;
      }
      // deciding
      // judging
      // sending
      // reading
      // watching;
      mx = {
        smtp = row "smtp" 25;
      };
      submission-only = sending;
      mailboxes-for-postfix = {
        inherit lmtp;
      }
      // reading;
      policy-for-postfix = deciding;
      filter-for-postfix = judging // watching;
      none = { };
    };

  # Where a content filter gives mail back.
  back.reinject = {
    speaks = "reinject";
    address = "127.0.0.1:10025";
  };

  # Where a row of a preset listens on a machine with or without IPv6.
  addressesOf =
    { ipv6, row }:
    if row ? address then
      [ row.address ]
    else
      [ "*:${toString row.port}" ] ++ lib.optional ipv6 "[*]:${toString row.port}";

  # An entry of `listen` is an address, or a table with one.
  addressOf = entry: if lib.isAttrs entry then entry.address else entry;

  # `{ host, port }` of a TCP address; null for paths and for sockets that the service manager hands over.
  parse =
    address:
    let
      found = builtins.match "([[][^]]*[]]|[^:/]*):([0-9]+)" address;
    in
    if lib.hasPrefix "systemd:" address || found == null then
      null
    else
      {
        host = lib.head found;
        port = lib.toInt (lib.last found);
      };

  isLoopback =
    host: host == "[::1]" || lib.hasPrefix "127." host || lib.hasPrefix "[::ffff:127." host;

  # The TCP addresses of a listener.
  addresses =
    listener:
    lib.optionals listener.enable (
      lib.filter (parsed: parsed != null) (map (entry: parse (addressOf entry)) listener.listen)
    );

  # Those that the world may reach.
  publicAddresses =
    listener:
    lib.optionals (lib.elem listener.speaks public) (
      lib.filter (parsed: !(isLoopback parsed.host)) (addresses listener)
    );

  # What the firewall opens for these listeners.
  publicPorts =
    listeners: lib.unique (map (parsed: parsed.port) (lib.concatMap publicAddresses (lib.attrValues listeners)));

  # Every TCP address that is bound, as text, to see two services that want the same one.
  boundAddresses =
    listeners:
    map (parsed: "${if parsed.host == "" then "*" else parsed.host}:${toString parsed.port}") (
      lib.filter (parsed: parsed.port != 0) (lib.concatMap addresses (lib.attrValues listeners))
    );

  # What `listen` says when the service manager opens the TCP sockets.
  handedOver =
    label: listener:
    lib.optional (addresses listener != [ ]) "systemd:${label}"
    ++ lib.filter (entry: parse (addressOf entry) == null) listener.listen;

  # The same address as a socket unit writes it.
  streamOf =
    parsed:
    let
      host =
        if parsed.host == "" || parsed.host == "*" then
          "0.0.0.0"
        else if parsed.host == "[*]" then
          "[::]"
        else
          parsed.host;
    in
    "${host}:${toString parsed.port}";
}
