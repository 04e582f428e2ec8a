# The two images of the Containerfile from nixpkgs: the same user, volume, ports and environment.
{
  lib,
  dockerTools,
  cacert,
  tzdata,
  writeTextDir,
  postgresql,
  python3,
  runCommand,
  posthorn,
  revision ? "unknown",
}:
let
  # Where the Containerfile has it, and everybody's health command looks for it.
  places = runCommand "posthorn-places" { } ''
    mkdir -p $out/usr/bin
    ln -s ${lib.getExe posthorn} $out/usr/bin/posthorn
  '';

  # What is inside, and under which licence: of crates by name, of everything else the paths in the store.
  documents =
    { name, closure }:
    posthorn.overrideAttrs (old: {
      pname = "${name}-documents";
      nativeBuildInputs = old.nativeBuildInputs ++ [ python3 ];
      buildPhase = ''
        python3 ${./sbom.py} --name ${name}-${posthorn.version} --closure ${closure} --checkout . \
          --spdx sbom.spdx.json --licences licences.txt
      '';
      installPhase = ''
        install -D -m 644 -t $out/usr/share/doc/posthorn sbom.spdx.json licences.txt ${../LICENSE-APACHE} ${../LICENSE-MIT}
      '';
      dontFixup = true;
    });

  names = [
    (writeTextDir "etc/passwd" ''
      root:x:0:0::/:/usr/sbin/nologin
      posthorn:x:10001:10001::/var/lib/posthorn:/usr/sbin/nologin
    '')
    (writeTextDir "etc/group" ''
      root:x:0:
      posthorn:x:10001:
    '')
  ];

  image =
    { name, more }:
    let
      programs = [
        posthorn
        cacert
        tzdata
      ]
      ++ more;
      graphs = lib.concatLists (lib.imap0 (at: program: [ "closure-${toString at}" program ]) programs);
      closure = runCommand "${name}-closure" { exportReferencesGraph = graphs; } ''
        cat closure-* | grep ^${builtins.storeDir}/ | sort --unique > $out
      '';
    in
    dockerTools.buildLayeredImage {
      inherit name;
      tag = posthorn.version;
      contents =
        programs
        ++ names
        ++ [
          places
          (documents { inherit name closure; })
        ];
      fakeRootCommands = ''
        mkdir -m 1777 tmp
        mkdir -p run/secrets var/lib/posthorn
        chown 10001:10001 var/lib/posthorn
        chmod 0700 var/lib/posthorn
      '';
      config = {
        User = "10001:10001";
        WorkingDir = "/var/lib/posthorn";
        Volumes."/var/lib/posthorn" = { };
        ExposedPorts = lib.genAttrs [ "25/tcp" "143/tcp" "465/tcp" "587/tcp" "993/tcp" ] (_: { });
        StopSignal = "SIGTERM";
        Healthcheck = {
          Test = [
            "CMD"
            (lib.getExe posthorn)
            "health"
            "ready"
          ];
          # In nanoseconds.
          Interval = 30 * 1000 * 1000 * 1000;
          Timeout = 10 * 1000 * 1000 * 1000;
          StartPeriod = 60 * 1000 * 1000 * 1000;
          Retries = 3;
        };
        Env = [
          # Where the private PostgreSQL is found.
          "PATH=/bin"
          "CREDENTIALS_DIRECTORY=/run/secrets"
          "SSL_CERT_FILE=${cacert}/etc/ssl/certs/ca-bundle.crt"
        ];
        Entrypoint = [ (lib.getExe posthorn) ];
        Cmd = [ "serve" ];
        Labels = {
          "org.opencontainers.image.title" = name;
          "org.opencontainers.image.description" = posthorn.meta.description;
          "org.opencontainers.image.licenses" = "MIT OR Apache-2.0";
          "org.opencontainers.image.version" = posthorn.version;
          "org.opencontainers.image.revision" = revision;
        };
      };
    };
in
{
  image = image {
    name = "posthorn";
    more = [ ];
  };
  image-appliance = image {
    name = "posthorn-appliance";
    more = [
      postgresql
      # initdb starts the server through a shell.
      dockerTools.binSh
    ];
  };
}
