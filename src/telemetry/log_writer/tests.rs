//! What is written, and when.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

fn open(settings: SinkSettings) -> LogWriter {
    LogWriter::open(vec![settings]).expect("the log can be opened")
}

fn file(path: &Path) -> FileSettings {
    FileSettings { path: path.to_owned(), buffer: None, flush: None, gzip: None }
}

/// Waits until a file says something.
fn wait_for(path: &Path, expected: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text == expected {
            return;
        }
        assert!(Instant::now() < until, "{}: {text:?}, not {expected:?}", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

const FIRST: SinkId = SinkId(0);

#[test]
fn a_line_without_buffer_is_there_soon_and_each_file_has_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = [directory.path().join("a.log"), directory.path().join("b.log")];
    let settings = paths.iter().map(|path| SinkSettings::File(file(path))).collect();
    let writer = LogWriter::open(settings).expect("the logs can be opened");
    writer.write(SinkId(0), b"one\n");
    writer.write(SinkId(1), b"other\n");
    writer.write(SinkId(0), b"two\n");
    wait_for(&paths[0], "one\ntwo\n");
    wait_for(&paths[1], "other\n");
}

#[test]
fn a_buffer_is_written_when_it_is_full_when_it_is_old_and_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.log");
    let full = FileSettings { buffer: Some(8), ..file(&path) };
    let writer = open(SinkSettings::File(full.clone()));
    writer.write(FIRST, b"one\n");
    writer.write(FIRST, b"two\n");
    wait_for(&path, "one\ntwo\n");
    writer.write(FIRST, b"3\n");
    drop(writer);
    wait_for(&path, "one\ntwo\n3\n");
    let old = FileSettings { flush: Some(Duration::from_millis(1)), ..full };
    let writer = open(SinkSettings::File(old));
    writer.write(FIRST, b"4\n");
    wait_for(&path, "one\ntwo\n3\n4\n");
}

#[test]
fn a_compressed_file_is_one_of_whole_parts() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.log.gz");
    let settings = FileSettings { buffer: Some(8), gzip: Some(1), ..file(&path) };
    for lines in [&b"one\ntwo\n"[..], b"three\n"] {
        let writer = open(SinkSettings::File(settings.clone()));
        writer.write(FIRST, lines);
        drop(writer);
    }
    let bytes = std::fs::read(&path).expect("the file is there");
    let mut text = String::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
    io::Read::read_to_string(&mut decoder, &mut text).expect("it is compressed");
    assert_eq!(text, "one\ntwo\nthree\n");
}

#[test]
fn a_file_that_was_moved_gets_what_is_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, moved) = (directory.path().join("a.log"), directory.path().join("a.log.1"));
    let writer = open(SinkSettings::File(FileSettings { buffer: Some(1024), ..file(&path) }));
    writer.write(FIRST, b"old\n");
    std::fs::rename(&path, &moved).expect("it can be moved");
    writer.reopen();
    wait_for(&moved, "old\n");
    wait_for(&path, "");
    writer.write(FIRST, b"new\n");
    drop(writer);
    wait_for(&moved, "old\n");
    wait_for(&path, "new\n");
}

#[test]
fn paths_are_chosen_by_each_line_and_stay_in_their_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    let text = |path: &Path| path.display().to_string().into_bytes();
    let writer = open(SinkSettings::Paths);
    writer.write_to(FIRST, &text(&a), b"one\n");
    writer.write_to(FIRST, &text(&directory.path().join("x/../b")), b"out\n");
    writer.write_to(FIRST, &text(&b), b"two\n");
    drop(writer);
    wait_for(&a, "one\n");
    wait_for(&b, "two\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let settings = SinkSettings::File(file(Path::new("/nowhere/at/all.log")));
    let error = LogWriter::open(vec![settings]).expect_err("there is no such directory");
    assert!(error.contains("/nowhere/at/all.log"), "{error}");
}

/// A disk with room for so many bytes more.
struct Disk {
    room: usize,
    has: Vec<u8>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.room);
        self.has.extend_from_slice(&bytes[..taken]);
        self.room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_full_disk_did_not_take_goes_on_where_it_ended() {
    let mut disk = Disk { room: 6, has: Vec::new() };
    let mut bytes = b"one\ntwo\n".to_vec();
    let error = file::write_to(&mut disk, &mut bytes).expect_err("no room");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(bytes, b"o\n");
    disk.room = 100;
    file::write_to(&mut disk, &mut bytes).expect("room");
    assert_eq!(disk.has, b"one\ntwo\n");
}

#[test]
fn a_full_disk_stops_nobody_and_what_waits_is_bounded() {
    let writer = open(SinkSettings::File(file(Path::new("/dev/full"))));
    let line = vec![b'x'; 64 * 1024];
    for _ in 0..1000 {
        writer.write(FIRST, &line);
    }
    let waits = lock(&writer.shared.sinks[0]).bytes.len();
    assert!(waits <= WAITING_MAX, "{waits}");
    assert!(lock(&writer.shared.sinks[0]).lost > 0);
}

#[test]
fn messages_of_syslog_have_the_form_of_nginx() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let address = server.local_addr().expect("an address");
    let settings = SyslogSettings {
        server: SyslogServer::Udp(address),
        priority: 190,
        tag: "nginx".to_owned(),
        has_hostname: false,
    };
    let writer = open(SinkSettings::Syslog(settings));
    writer.write(FIRST, b"a line\n");
    let mut message = [0; 256];
    let length = server.recv(&mut message).expect("a message");
    let text = String::from_utf8_lossy(&message[..length]);
    let rest = text.strip_prefix("<190>").expect("a priority");
    assert_eq!(rest.get(15..), Some(" nginx: a line"), "{text}");
}
