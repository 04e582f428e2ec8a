//! The program itself, as people run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What a run of the program came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The program, built of the same sources as the test.
///
/// # Panics
/// When it cannot be built.
pub fn posthorn() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // Beside `deps/`, where this test is.
        let test = std::env::current_exe().expect("our own path");
        let folder = test.ancestors().nth(2).expect("target/debug").to_owned();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "posthorn", "--bin", "posthorn", "--target-dir"]);
        build.arg(folder.parent().expect("target")).current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the program cannot be built");
        folder.join("posthorn")
    })
}

/// Runs the program to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(arguments: &[&str], input: &str) -> Ran {
    use std::io::Write;
    let mut command = Command::new(posthorn());
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // A program that reads nothing closes this early.
    let _unread = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the program ends");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}
