//! The binary in nginx's place as a program: started under its name, with its switches.

use std::os::unix::fs::MetadataExt;

use crate::support::master::Prefix;
use crate::support::process::Process;

const CONF: &str = "daemon off;\nevents {}\nhttp {\n  access_log access.log;\n  \
                    server { listen 127.0.0.1:{port}; server_name localhost;\n    \
                    location / { return 200 first; }\n    location /files/ { root data; }\n  }\n}\n";

fn started() -> (Prefix, Process) {
    let prefix = Prefix::new();
    prefix.write("nginx.conf", CONF);
    let process = prefix.start();
    (prefix, process)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_serves_from_the_moment_its_pid_file_is_there_until_quit() {
    let (prefix, mut process) = started();
    assert_eq!(prefix.pid(), process.id(), "the one that was started is the master");
    std::fs::create_dir_all(prefix.path("data/files")).expect("folders");
    prefix.write("data/files/a.txt", "a file\n");
    let answer = prefix.get("/");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nfirst"), "{answer}");
    assert!(prefix.get("/files/a.txt").ends_with("\r\n\r\na file\n"), "below the prefix");
    process.signal("QUIT");
    assert_eq!(process.wait_exit().code(), Some(0));
    assert!(!prefix.path("nginx.pid").exists(), "the pid file goes with it");
    assert!(!prefix.listens());
    assert!(prefix.read("access.log").contains("\"GET / HTTP/1.0\" 200 5"), "below the prefix");
    assert_eq!(prefix.alerts(), Vec::<String>::new());
}

#[test]
fn term_ends_it_at_once() {
    for signal in ["TERM", "INT"] {
        let (prefix, mut process) = started();
        // A request that never ends keeps nobody.
        let open = std::net::TcpStream::connect(("127.0.0.1", prefix.port)).expect("it listens");
        process.signal(signal);
        assert_eq!(process.wait_exit().code(), Some(0), "{signal}");
        drop(open);
        process.wait_group_gone();
        assert!(!prefix.path("nginx.pid").exists());
        assert_eq!(prefix.alerts(), Vec::<String>::new());
    }
}

#[test]
fn lines_of_the_error_log_have_the_form_of_nginx() {
    let (prefix, mut process) = started();
    process.signal("QUIT");
    process.wait_exit();
    let log = prefix.read("error.log");
    let is_one = |line: &str| {
        let (time, rest) = line.split_at_checked(19)?;
        let digits = time.bytes().filter(u8::is_ascii_digit).count();
        let (level, rest) = rest.strip_prefix(" [")?.split_once("] ")?;
        let (process, rest) = rest.split_once('#')?;
        let (thread, _) = rest.split_once(": ")?;
        let numbers = process.parse::<u32>().is_ok() && thread.parse::<u32>().is_ok();
        (digits == 14 && numbers).then(|| level.to_owned())
    };
    for line in log.lines() {
        assert!(is_one(line).is_some(), "{line}");
    }
    for said in ["signal 3 (SIGQUIT) received", "exited with code 0", "exit"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[test]
fn a_reload_serves_the_new_file_and_keeps_what_is_open() {
    let (prefix, mut process) = started();
    let mut kept = std::net::TcpStream::connect(("127.0.0.1", prefix.port)).expect("it listens");
    prefix.write("nginx.conf", &CONF.replace("first", "second"));
    process.signal("HUP");
    prefix.wait("second answer", || prefix.get("/").ends_with("second"));
    assert_eq!(prefix.pid(), process.id());
    // Accepted before, and asked after.
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    std::io::Write::write_all(&mut kept, request.as_bytes()).expect("it is open");
    std::io::Read::read_to_string(&mut kept, &mut answer).expect("it answers");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    prefix.wait("end of the old one", || prefix.read("error.log").contains("exited with code 0"));
    process.signal("QUIT");
    assert_eq!(process.wait_exit().code(), Some(0));
    assert_eq!(prefix.alerts(), Vec::<String>::new());
}

#[test]
fn a_file_that_is_no_good_leaves_the_old_one_in_force() {
    let (prefix, mut process) = started();
    prefix.write("nginx.conf", "events {}\nhttp { servre {} }\n");
    process.signal("HUP");
    prefix.wait("mistake", || prefix.read("error.log").contains("[emerg]"));
    let expected = prefix.fill("unknown directive \"servre\" in {directory}/nginx.conf:2");
    assert!(prefix.read("error.log").contains(&expected), "{}", prefix.read("error.log"));
    assert!(prefix.get("/").ends_with("first"));
    process.signal("QUIT");
    assert_eq!(process.wait_exit().code(), Some(0));
}

#[test]
fn logs_are_opened_anew() {
    let (prefix, mut process) = started();
    prefix.get("/");
    prefix.wait("first line", || prefix.read("access.log").lines().count() == 1);
    std::fs::rename(prefix.path("access.log"), prefix.path("access.old")).expect("it is ours");
    std::fs::rename(prefix.path("error.log"), prefix.path("error.old")).expect("it is ours");
    process.signal("USR1");
    prefix.wait("new files", || {
        prefix.path("access.log").exists() && prefix.path("error.log").exists()
    });
    // The master makes them, as nginx's does; until the worker has heard too, lines go where they went.
    let mut asked = 1;
    prefix.wait("line in the new file", || {
        prefix.get("/");
        asked += 1;
        !prefix.read("access.log").is_empty()
    });
    process.signal("QUIT");
    process.wait_exit();
    let lines = |name| prefix.read(name).lines().count();
    assert_eq!(lines("access.old") + lines("access.log"), asked, "no line is lost");
}

#[test]
fn a_worker_that_dies_is_replaced() {
    let (prefix, mut process) = started();
    let worker = children(process.id());
    assert_eq!(worker.len(), 1, "one worker");
    kill("KILL", worker[0]);
    prefix.wait("another one", || {
        let now = children(process.id());
        now.len() == 1 && now != worker
    });
    prefix.wait("answer", || prefix.get("/").ends_with("first"));
    process.signal("TERM");
    assert_eq!(process.wait_exit().code(), Some(0));
}

#[test]
fn workers_do_not_outlive_their_master() {
    let (prefix, mut process) = started();
    process.signal("KILL");
    process.wait_group_gone();
    assert!(!prefix.listens());
}

/// Only who may become anybody can show it.
#[test]
fn workers_run_as_the_user_of_the_file() {
    let prefix = Prefix::new();
    if std::fs::metadata(prefix.folder()).expect("it is there").uid() != 0 {
        return;
    }
    for (user, expected) in [("", 65534), ("user root;", 0), ("user daemon daemon;", 1)] {
        prefix.write("nginx.conf", &format!("{user}\n{CONF}"));
        let mut process = prefix.start();
        let worker = children(process.id())[0];
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).expect("it runs");
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("its users");
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().expect("one")).collect();
        assert_eq!(ids, [expected; 4], "{user}");
        for task in std::fs::read_dir(format!("/proc/{worker}/task")).expect("it runs") {
            let owner = task.expect("a thread").metadata().expect("it runs").uid();
            assert_eq!(owner, expected, "each thread: {user}");
        }
        process.signal("QUIT");
        process.wait_exit();
    }
    prefix.write("nginx.conf", &format!("user no-such-user;\n{CONF}"));
    let refused = prefix.run(&["-p", "{directory}", "-c", "nginx.conf", "-e", "error.log"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("nginx: [emerg] getpwnam(\"no-such-user\") failed"), "{said}");
}

#[test]
fn a_daemon_is_left_behind_when_it_serves() {
    let prefix = Prefix::new();
    prefix.write("nginx.conf", &CONF.replace("daemon off;", "pid nginx.pid;"));
    let words = ["-p", "{directory}/", "-c", "nginx.conf", "-e", "error.log"];
    let started = prefix.run(&words);
    assert!(started.status.success(), "{}", text(&started.stderr));
    assert!(prefix.get("/").ends_with("first"), "it serves already");
    let master = prefix.pid();
    let again = prefix.run(&words);
    assert_eq!(again.status.code(), Some(1), "the port is taken");
    let said = text(&again.stderr);
    let expected = prefix.fill("bind() to 127.0.0.1:{port} failed (98: Address already in use)");
    assert!(said.contains(&expected), "{said}");
    assert_eq!(prefix.pid(), master, "its file stays");
    for order in ["reload", "reopen", "quit"] {
        let sent = prefix.run(&[&words[..], &["-s", order]].concat());
        assert!(sent.status.success(), "{order}: {}", text(&sent.stderr));
    }
    prefix.wait("end", || !prefix.path("nginx.pid").exists());
    let late = prefix.run(&[&words[..], &["-s", "stop"]].concat());
    assert_eq!(late.status.code(), Some(1));
    let expected = prefix.fill("nginx: [error] open() \"{directory}/nginx.pid\" failed (2: ");
    assert!(text(&late.stderr).contains(&expected), "{}", text(&late.stderr));
}

#[test]
fn one_process_serves_alone() {
    let prefix = Prefix::new();
    prefix.write("nginx.conf", &format!("master_process off;\n{CONF}"));
    let mut process = prefix.start();
    assert!(prefix.get("/").ends_with("first"));
    assert_eq!(children(process.id()), Vec::<u32>::new());
    process.signal("QUIT");
    assert_eq!(process.wait_exit().code(), Some(0));
    assert!(!prefix.path("nginx.pid").exists());
}

#[test]
fn files_are_tested_and_shown_in_words_of_nginx() {
    let prefix = Prefix::new();
    prefix.write("nginx.conf", CONF);
    let words = |more: &[&'static str]| {
        [&["-p", "{directory}", "-c", "nginx.conf", "-e", "error.log"], more].concat()
    };
    let good = prefix.run(&words(&["-t"]));
    let file = prefix.path("nginx.conf").display().to_string();
    let expected = format!(
        "nginx: the configuration file {file} syntax is ok\n\
         nginx: configuration file {file} test is successful\n"
    );
    assert_eq!((good.status.code(), text(&good.stderr)), (Some(0), expected));
    assert_eq!(prefix.run(&words(&["-tq"])).stderr, b"");
    let dumped = prefix.run(&words(&["-T", "-q"]));
    let conf = prefix.fill(CONF);
    assert_eq!(text(&dumped.stdout), format!("# configuration file {file}:\n{conf}\n"));
    prefix.write("nginx.conf", "events {}\nhttp { server { listen; } }\n");
    let bad = prefix.run(&words(&["-t"]));
    let expected = format!(
        "nginx: [emerg] invalid number of arguments in \"listen\" directive in {file}:2\n\
         nginx: configuration file {file} test failed\n"
    );
    assert_eq!((bad.status.code(), text(&bad.stderr)), (Some(1), expected));
    assert!(prefix.read("error.log").contains("[emerg]"), "the log has it, too");
    let command_line = prefix.run(&words(&["-t", "-g", "foo;"]));
    assert!(text(&command_line.stderr).contains("unknown directive \"foo\" in command line"));
}

#[test]
fn versions_and_modules_are_told() {
    let prefix = Prefix::new();
    let short = prefix.run(&["-v"]);
    assert!(short.status.success());
    assert!(text(&short.stderr).starts_with("nginx version: nginx/1."), "{:?}", short.stderr);
    let long = text(&prefix.run(&["-V"]).stderr);
    for told in ["nginx version: nginx/1.", "cloakroom/", "--with-http_ssl_module", "http_v2"] {
        assert!(long.contains(told), "{told}: {long}");
    }
    assert!(long.contains("--without-http_fastcgi_module"), "what is not here is said");
    let help = prefix.run(&["-?"]);
    assert!(help.status.success());
    assert!(text(&help.stderr).contains("-s signal     : send signal to a master process"));
    let wrong = prefix.run(&["-x"]);
    assert_eq!(
        (wrong.status.code(), text(&wrong.stderr)),
        (Some(1), "nginx: invalid option: \"x\"\n".to_owned())
    );
}

/// The processes that another one has started.
fn children(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(|id| id.parse().expect("a number")).collect()
}

fn kill(signal: &str, process: u32) {
    let sent = std::process::Command::new("sh")
        .args(["-c", &format!("kill -s {signal} {process}")])
        .status();
    assert!(sent.expect("there is a shell").success());
}
