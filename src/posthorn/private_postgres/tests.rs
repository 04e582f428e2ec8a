//! The private server for real: needs PostgreSQL's programs, as root also the user `postgres`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{Error, PrivatePostgres, Settings};

/// A data folder of one test, removed with everything in it.
struct Data(PathBuf);

impl Data {
    fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("posthorn-pg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(parent.join(name))
    }

    fn settings(&self) -> Settings {
        Settings { durable: false, shared_buffers_mib: 16, ..Settings::new(&self.0) }
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn alive(pid: u32) -> bool {
    Pid::from_raw(pid.cast_signed()).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Dead, if perhaps not yet waited for by whoever inherited it.
fn gone(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |arguments| arguments.is_empty())
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    kill_process(pid, Signal::KILL).expect("it runs");
}

/// Sends a start-up packet for our role: peer authentication needs no more words, so "authenticated" (`R` with
/// code 0) and the first parameter (`S`) mean that we are in.
fn logs_in(server: &PrivatePostgres, database: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = UnixStream::connect(server.socket_folder().join(".s.PGSQL.5432")) else { return false };
    let body = format!("\0\x03\0\0user\0posthorn\0database\0{database}\0\0");
    let length = u32::try_from(body.len() + 4).expect("short");
    let mut packet = length.to_be_bytes().to_vec();
    packet.extend_from_slice(body.as_bytes());
    let mut answer = [0; 10];
    stream.write_all(&packet).and_then(|()| stream.read_exact(&mut answer)).is_ok()
        && answer == *b"R\0\0\0\x08\0\0\0\0S"
}

async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let began = Instant::now();
    while !check() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn starts_lets_us_in_stops_and_finds_its_cluster_again() {
    let data = Data::new();
    let server = PrivatePostgres::start(data.settings()).await.expect("it starts");
    let pid = server.pid();
    assert!(logs_in(&server, "posthorn"));
    assert!(!logs_in(&server, "nowhere"));
    assert!(server.url().ends_with("%2Frun:5432/posthorn"), "{}", server.url());
    let socket = fs::metadata(server.socket_folder()).expect("it is there");
    assert_eq!(socket.permissions().mode() & 0o777, 0o700);
    server.shutdown().await;
    assert!(!alive(pid));

    let cluster = data.0.join("postgres");
    let made = fs::metadata(cluster.join("PG_VERSION")).expect("a cluster").ino();
    let server = PrivatePostgres::start(data.settings()).await.expect("it starts again");
    assert!(logs_in(&server, "posthorn"));
    assert_eq!(fs::metadata(cluster.join("PG_VERSION")).expect("the cluster").ino(), made);
    server.shutdown().await;
}

#[tokio::test]
async fn a_killed_server_comes_back() {
    let data = Data::new();
    let server = PrivatePostgres::start(data.settings()).await.expect("it starts");
    for deaths in 1..=2 {
        let pid = server.pid();
        kill(pid);
        eventually("the server is restarted", || server.restarts() == deaths).await;
        assert_ne!(server.pid(), pid);
        assert!(logs_in(&server, "posthorn"));
    }
    let pid = server.pid();
    server.shutdown().await;
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_server_left_behind_is_stopped_at_the_next_start() {
    let data = Data::new();
    let server = PrivatePostgres::start(data.settings()).await.expect("it starts");
    let left = server.pid();
    // What a killed parent leaves: a running server without supervision and without the lock.
    server.detach().await;
    assert!(alive(left));

    let server = PrivatePostgres::start(data.settings()).await.expect("it takes over");
    assert_ne!(server.pid(), left);
    assert!(gone(left));
    assert!(logs_in(&server, "posthorn"));
    server.shutdown().await;
}

#[tokio::test]
async fn stale_lock_files_with_somebody_elses_process_are_no_obstacle() {
    let data = Data::new();
    PrivatePostgres::start(data.settings()).await.expect("it starts").shutdown().await;
    let mut neighbour = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is everywhere");
    // After a power cut both lie about, the one in the cluster and the one beside the socket.
    for lock in ["postgres/postmaster.pid", "run/.s.PGSQL.5432.lock"] {
        fs::write(data.0.join(lock), format!("{}\n/elsewhere\n", neighbour.id())).expect("writable");
    }

    let server = PrivatePostgres::start(data.settings()).await.expect("it starts nevertheless");
    assert!(neighbour.try_wait().expect("ours").is_none(), "the neighbour was left alone");
    server.shutdown().await;
    neighbour.kill().and_then(|()| neighbour.wait()).expect("ours");
}

#[tokio::test]
async fn empty_lock_files_are_no_obstacle() {
    let data = Data::new();
    PrivatePostgres::start(data.settings()).await.expect("it starts").shutdown().await;
    for lock in ["postgres/postmaster.pid", "run/.s.PGSQL.5432.lock"] {
        fs::write(data.0.join(lock), "").expect("writable");
    }
    PrivatePostgres::start(data.settings()).await.expect("it starts nevertheless").shutdown().await;
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let data = Data::new();
    let server = PrivatePostgres::start(data.settings()).await.expect("it starts");
    let error = PrivatePostgres::start(data.settings()).await.expect_err("it is in use");
    let text = error.to_string();
    assert!(matches!(error, Error::InUse { .. }), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(logs_in(&server, "posthorn"), "the first one does not notice");
    server.shutdown().await;
}

#[tokio::test]
async fn a_dropped_server_stops() {
    let data = Data::new();
    let server = PrivatePostgres::start(data.settings()).await.expect("it starts");
    let pid = server.pid();
    drop(server);
    eventually("the server stops", || gone(pid)).await;
}

#[tokio::test]
async fn a_long_path_gets_a_short_socket() {
    let deep = Data::new();
    let parent = deep.0.join("a".repeat(60)).join("b".repeat(60));
    let data = Data::below(&parent);
    let server = PrivatePostgres::start(data.settings()).await.expect("it starts");
    let socket = server.socket_folder().to_owned();
    assert!(socket.as_os_str().len() < 60, "{}", socket.display());
    assert!(logs_in(&server, "posthorn"));
    server.shutdown().await;
    let again = PrivatePostgres::start(data.settings()).await.expect("it starts again");
    assert_eq!(again.socket_folder(), socket);
    again.shutdown().await;
    fs::remove_dir_all(socket).expect("ours");
}

#[tokio::test]
async fn roots_private_temporary_folders_are_passed_and_others_respected() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let outer = Data::new();
    let data = Data::below(&outer.0.join("private"));
    fs::create_dir_all(outer.0.join("private")).expect("writable");
    fs::set_permissions(&outer.0, fs::Permissions::from_mode(0o700)).expect("ours");
    PrivatePostgres::start(data.settings()).await.expect("it starts").shutdown().await;
    assert_eq!(fs::metadata(&outer.0).expect("there").permissions().mode() & 0o777, 0o710);

    let strange = outer.0.join("private/strange");
    fs::create_dir(&strange).expect("writable");
    std::os::unix::fs::chown(&strange, None, Some(1)).expect("root may");
    fs::set_permissions(&strange, fs::Permissions::from_mode(0o700)).expect("ours");
    let error = PrivatePostgres::start(Data::below(&strange).settings()).await.expect_err("closed on purpose");
    assert!(matches!(&error, Error::OutOfReach { closed, .. } if closed.ends_with("strange")), "{error}");
}

#[tokio::test]
async fn a_half_made_cluster_is_made_again() {
    let data = Data::new();
    fs::create_dir_all(data.0.join("postgres.new/base")).expect("writable");
    fs::write(data.0.join("postgres.new/PG_VERSION"), "15\n").expect("writable");
    let server = PrivatePostgres::start(data.settings()).await.expect("it starts");
    assert!(!data.0.join("postgres.new").exists());
    server.shutdown().await;
}

#[tokio::test]
async fn missing_programs_and_foreign_clusters_are_explained() {
    let data = Data::new();
    let wrong = Settings { binaries: Some("/nonexistent/bin".into()), ..data.settings() };
    let text = PrivatePostgres::start(wrong).await.expect_err("no programs there").to_string();
    for part in ["/nonexistent/bin", "apt-get install -y postgresql", "nix profile install nixpkgs#postgresql", "dnf"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!data.0.join("postgres").exists());

    fs::create_dir_all(data.0.join("postgres")).expect("writable");
    fs::write(data.0.join("postgres/PG_VERSION"), "9\n").expect("writable");
    let error = PrivatePostgres::start(data.settings()).await.expect_err("version 9 is not found here");
    assert!(matches!(error, Error::OtherMajorVersion { cluster: 9, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_refuses_to_start_shows_its_log() {
    let data = Data::new();
    PrivatePostgres::start(data.settings()).await.expect("it starts").shutdown().await;
    fs::write(data.0.join("postgres/postgresql.auto.conf"), "no_such_setting = 1\n").expect("writable");
    let text = PrivatePostgres::start(data.settings()).await.expect_err("a wrong setting").to_string();
    assert!(text.contains("no_such_setting"), "{text}");
}
