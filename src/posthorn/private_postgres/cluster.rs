//! Making the cluster and writing its configuration.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::folders::{Folders, give, give_tree, make_for};
use super::os_user::OsUser;
use super::programs::Programs;
use super::{Error, PORT, ROLE, Settings};

/// Our settings live in a file of their own, so that a newer Posthorn can rewrite them whole.
const CONFIGURATION: &str = "posthorn.conf";

/// The cluster of one data folder, running or not.
#[derive(Debug)]
pub(super) struct Cluster<'a> {
    pub(super) settings: &'a Settings,
    pub(super) folders: &'a Folders,
    pub(super) programs: &'a Programs,
    pub(super) user: &'a OsUser,
}

impl Cluster<'_> {
    /// Makes the cluster with the role and the database. It gets its final name when it is complete: an
    /// interrupted attempt leaves nothing that looks like a cluster.
    pub(super) async fn create(&self) -> Result<(), Error> {
        let fresh = self.folders.unfinished_cluster();
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(Error::io("remove", &fresh))?;
        }
        make_for(&fresh, self.user)?;
        self.initdb(&fresh).await?;
        let main = fresh.join("postgresql.conf");
        append(&main, &format!("include_if_exists = '{CONFIGURATION}'\n")).map_err(Error::io("write", &main))?;
        self.create_database(&fresh).await?;
        let cluster = self.folders.cluster();
        fs::rename(&fresh, &cluster).map_err(Error::io("rename", &fresh))?;
        if self.settings.durable
            && let Some(data) = cluster.parent()
        {
            File::open(data).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", data))?;
        }
        Ok(())
    }

    /// Writes our settings and who may connect, before every start: the data folder may have moved, the
    /// user may have changed, and a newer Posthorn may know better settings.
    pub(super) async fn configure(&self) -> Result<(), Error> {
        let cluster = self.folders.cluster();
        give_tree(&cluster, self.user)?;
        let lz4 = self.knows_lz4(&cluster).await;
        self.write(&cluster.join(CONFIGURATION), &self.configuration(lz4))?;
        self.write(&cluster.join("pg_hba.conf"), &admission())?;
        self.write(&cluster.join("pg_ident.conf"), &identities(self.user))
    }

    async fn initdb(&self, fresh: &Path) -> Result<(), Error> {
        let mut initdb = command(&self.programs.initdb(), self.user);
        initdb.arg("--pgdata").arg(fresh).args(["--username", ROLE]);
        initdb.args(["--auth-local=peer", "--auth-host=reject", "--encoding=UTF8", "--data-checksums"]);
        // Byte order for keys, Unicode classes for lower() and word splitting.
        initdb.args(["--lc-collate=C", "--lc-ctype=C.UTF-8", "--lc-messages=C", "--no-instructions"]);
        initdb.args(["--lc-monetary=C", "--lc-numeric=C", "--lc-time=C", "--text-search-config=simple"]);
        if !self.settings.durable {
            initdb.arg("--no-sync");
        }
        run("initdb", initdb, "").await.map(drop)
    }

    /// In single-user mode: needs no socket and no authentication.
    async fn create_database(&self, fresh: &Path) -> Result<(), Error> {
        let mut single = command(&self.programs.postgres(), self.user);
        single.arg("--single").arg("-D").arg(fresh);
        if !self.settings.durable {
            single.args(["-c", "fsync=off"]);
        }
        single.arg("postgres");
        let said = run("postgres", single, &format!("CREATE DATABASE {ROLE};\n")).await?;
        // Single-user mode ends well even when a statement failed.
        if said.contains("ERROR:") || said.contains("FATAL:") {
            return Err(Error::Failed { program: "postgres", outcome: "CREATE DATABASE".to_owned(), log: said });
        }
        Ok(())
    }

    /// Whether this PostgreSQL was built with LZ4 (`-C` prints a setting and refuses values it does not know).
    async fn knows_lz4(&self, cluster: &Path) -> bool {
        let mut ask = command(&self.programs.postgres(), self.user);
        ask.arg("-D").arg(cluster).args(["-c", "wal_compression=lz4", "-C", "wal_compression"]);
        run("postgres", ask, "").await.is_ok()
    }

    fn write(&self, path: &Path, content: &str) -> Result<(), Error> {
        if fs::read_to_string(path).is_ok_and(|old| old == content) {
            return Ok(());
        }
        let fresh = path.with_extension("conf.new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(content.as_bytes())?;
            if self.settings.durable { file.sync_all() } else { Ok(()) }
        };
        write().map_err(Error::io("write", &fresh))?;
        give(&fresh, self.user)?;
        fs::rename(&fresh, path).map_err(Error::io("rename", &fresh))
    }

    fn configuration(&self, lz4: bool) -> String {
        let Settings { shared_buffers_mib, connections, durable, .. } = self.settings;
        let durable = if *durable { "on" } else { "off" };
        let (wal, toast) = if lz4 { ("lz4", "lz4") } else { ("on", "pglz") };
        // A quote in a value is doubled.
        let socket = self.folders.socket().display().to_string().replace('\'', "''");
        format!(
            "# Written by Posthorn before every start: changes are lost. Put yours into postgresql.auto.conf \
             (ALTER SYSTEM).
listen_addresses = ''
port = {PORT}
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
max_connections = {connections}
cluster_name = '{ROLE}'
timezone = 'UTC'
log_timezone = 'UTC'

# 250 means stored.
fsync = {durable}
synchronous_commit = {durable}
full_page_writes = {durable}

# Memory: small when idle; the system's page cache does the rest.
shared_buffers = {shared_buffers_mib}MB
huge_pages = off
work_mem = 4MB
maintenance_work_mem = 64MB
jit = off
max_worker_processes = 2
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
max_logical_replication_workers = 0
max_prepared_transactions = 0

# The write-ahead log carries the bodies: few checkpoints, spread out.
wal_buffers = 4MB
wal_compression = {wal}
default_toast_compression = {toast}
max_wal_size = 2GB
min_wal_size = 128MB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
# After a crash: one flush of the file system instead of one of each file.
recovery_init_sync_method = syncfs
max_wal_senders = 2
max_replication_slots = 2

# Mailboxes change in small steps all the time.
autovacuum_max_workers = 2
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_insert_scale_factor = 0.1
autovacuum_analyze_scale_factor = 0.05
random_page_cost = 1.1
effective_cache_size = 1GB
update_process_title = off

# Faults only, and never a statement, a key or a value: those hold people's mail.
logging_collector = off
log_destination = 'stderr'
log_line_prefix = '%m [%p] '
log_min_messages = warning
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length_on_error = 0
log_checkpoints = off
log_autovacuum_min_duration = -1
log_startup_progress_interval = 0
"
        )
    }
}

/// pg_hba.conf: the one role, by the operating system's word for who is calling.
fn admission() -> String {
    format!(
        "# Written by Posthorn before every start.
local all         {ROLE} peer map={ROLE}
local replication {ROLE} peer map={ROLE}
"
    )
}

/// pg_ident.conf: the operating system users that may be the role.
fn identities(user: &OsUser) -> String {
    let mut text = "# Written by Posthorn before every start.\n".to_owned();
    for name in user.admitted() {
        text.push_str(&format!("{ROLE} \"{name}\" {ROLE}\n"));
    }
    text
}

/// A program run as the server's user, with nothing of our environment that could hold a secret or steer it.
pub(super) fn command(program: &Path, user: &OsUser) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    for name in ["PATH", "LD_LIBRARY_PATH", "LOCALE_ARCHIVE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if user.switch {
        // Becoming another user also drops root's supplementary groups.
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// Runs a program to its end and returns what it wrote.
async fn run(program: &'static str, mut command: Command, input: &str) -> Result<String, Error> {
    let path = Path::new(command.as_std().get_program()).to_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(Error::io("run", &path))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ended early says why itself.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(Error::io("run", &path))?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Ok(said);
    }
    Err(Error::Failed { program, outcome: output.status.to_string(), log: said.trim().to_owned() })
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}
