//! clamd on a Unix socket, which is given files instead of streams.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use parking_lot::Mutex;
use posthorn_config::{ScannerShown, ServiceAddress};
use posthorn_filter::Scanned;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::Clamd;
use crate::rig::{message, question, said, settings};
use crate::service::Service;

type Heard = Arc<Mutex<Vec<String>>>;

/// One that finds a virus where it reads "bad", cannot look into what is "sealed", and says so in the way of the command. Where it may not read files it
/// sees none, and closes.
fn serve(folder: &tempfile::TempDir, reads_files: bool) -> (Service<Clamd>, Heard) {
    let path = folder.path().join("clamd");
    let listener = UnixListener::bind(&path).expect("a socket");
    let heard = Heard::default();
    let all = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, all) = (stream.expect("a connection"), Arc::clone(&all));
            std::thread::spawn(move || converse(stream, reads_files, &all));
        }
    });
    let mut settings = settings(([127, 0, 0, 1], 1).into());
    settings.address = vec![ServiceAddress::Unix(path)];
    settings.shown = ScannerShown::Parts;
    (Service::new(settings, Clamd::default()), heard)
}

fn converse(mut stream: UnixStream, reads_files: bool, all: &Heard) {
    for asked in 1.. {
        let Some((command, file)) = hear(&stream) else { return };
        let (way, text) = match (command.contains("zINSTREAM"), file.filter(|_| reads_files)) {
            (true, _) => ("stream", command),
            (false, Some(file)) => {
                let mut text = String::new();
                std::fs::File::from(file).read_to_string(&mut text).expect("a message");
                ("fd[9]", text)
            }
            (false, None) => {
                all.lock().push("no file".to_owned());
                stream.write_all(format!("{asked}: No file descriptor received. ERROR\0").as_bytes()).expect("written");
                return;
            }
        };
        let verdict = match () {
            () if text.contains("bad") => "Bad.Thing FOUND",
            () if text.contains("sealed") => "Heuristics.Encrypted.Zip FOUND",
            () => "OK",
        };
        all.lock().push(way.to_owned());
        stream.write_all(format!("{asked}: {way}: {verdict}\0").as_bytes()).expect("written");
    }
}

/// What comes at once, which is a whole question here, and the file that comes along.
fn hear(stream: &UnixStream) -> Option<(String, Option<OwnedFd>)> {
    let (mut octets, mut space) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(stream, &mut [IoSliceMut::new(&mut octets)], &mut along, RecvFlags::CMSG_CLOEXEC).ok()?;
    let file = along.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    (got.bytes > 0).then(|| (String::from_utf8_lossy(&octets[..got.bytes]).into_owned(), file))
}

#[tokio::test]
async fn messages_are_passed_as_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let (service, heard) = serve(&folder, true);
    let (clean, bad) = (message("Subject: x\r\n\r\nbody\r\n"), message("Subject: x\r\n\r\nbad\r\n"));
    assert_eq!(said(&service, &question(&clean)).await, Scanned::default());
    assert_eq!(said(&service, &question(&bad)).await.viruses, ["Bad.Thing"]);
    assert_eq!(*heard.lock(), ["fd[9]", "fd[9]"]);
}

#[tokio::test]
async fn who_sees_no_files_is_sent_streams_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (service, heard) = serve(&folder, false);
    let (clean, bad) = (message("Subject: x\r\n\r\nbody\r\n"), message("Subject: x\r\n\r\nbad\r\n"));
    assert_eq!(said(&service, &question(&bad)).await.viruses, ["Bad.Thing"]);
    assert_eq!(said(&service, &question(&clean)).await, Scanned::default());
    assert_eq!(*heard.lock(), ["no file", "stream", "stream"]);
}

#[tokio::test]
async fn a_virus_behind_what_is_encrypted_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (service, heard) = serve(&folder, true);
    let parts = |second: &str| {
        let header = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        bytes::Bytes::from(format!("{header}--b\r\n\r\nsealed\r\n--b\r\n\r\n{second}\r\n--b--\r\n"))
    };
    let bad = said(&service, &question(&parts("bad"))).await;
    assert_eq!((&bad.viruses[..], bad.unchecked), (&["Bad.Thing".to_owned()][..], None));
    let clean = said(&service, &question(&parts("clean"))).await;
    assert!(clean.viruses.is_empty() && clean.unchecked.is_some_and(|why| why.contains("Encrypted")));
    assert_eq!(heard.lock().len(), 4);
}
