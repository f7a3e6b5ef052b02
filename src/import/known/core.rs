//! The program itself, and its events.

use super::rows::Set::{Flag, Many, Millis, Number, Offset, Once, OneOf, Text};
use super::rows::{EVENTS, EVERYWHERE, MAIN, MORE1, Module, T0, T1, T12, T23, block, line, module};

pub const MODULES: &[Module] = &[
    CORE,
    ERRLOG,
    CONF,
    OPENSSL,
    REGEX,
    EVENTS_MODULE,
    EVENT_CORE,
    EPOLL,
    THREAD_POOL,
    HTTP_MODULE,
    STREAM_MODULE,
    MAIL_MODULE,
    QUIC,
];

const CORE: Module = module(
    "ngx_core_module",
    &[
        line("daemon", MAIN, T1, Flag),
        line("master_process", MAIN, T1, Flag),
        line("timer_resolution", MAIN, T1, Millis),
        line("pid", MAIN, T1, Text),
        line("lock_file", MAIN, T1, Text),
        line("worker_processes", MAIN, T1, Once),
        line("debug_points", MAIN, T1, OneOf(&["stop", "abort"])),
        line("user", MAIN, T12, Once),
        line("worker_priority", MAIN, T1, Once),
        line("worker_cpu_affinity", MAIN, MORE1, Once),
        line("worker_rlimit_nofile", MAIN, T1, Number),
        line("worker_rlimit_core", MAIN, T1, Offset),
        line("worker_shutdown_timeout", MAIN, T1, Millis),
        line("working_directory", MAIN, T1, Text),
        line("env", MAIN, T1, Many),
        line("load_module", MAIN, T1, Many),
    ],
);

const ERRLOG: Module = module("ngx_errlog_module", &[line("error_log", MAIN, MORE1, Many)]);

const CONF: Module = module("ngx_conf_module", &[line("include", EVERYWHERE, T1, Many)]);

const OPENSSL: Module = module(
    "ngx_openssl_module",
    &[
        line("ssl_engine", MAIN, T1, Once),
        line("ssl_object_cache_inheritable", MAIN, T1, Flag).since("1.27.4"),
    ],
);

const REGEX: Module = module("ngx_regex_module", &[line("pcre_jit", MAIN, T1, Flag)]);

const EVENTS_MODULE: Module = module("ngx_events_module", &[block("events", MAIN, T0, Once)]);

const EVENT_CORE: Module = module(
    "ngx_event_core_module",
    &[
        line("worker_connections", EVENTS, T1, Once),
        line("use", EVENTS, T1, Once),
        line("multi_accept", EVENTS, T1, Flag),
        line("accept_mutex", EVENTS, T1, Flag),
        line("accept_mutex_delay", EVENTS, T1, Millis),
        line("debug_connection", EVENTS, T1, Many),
    ],
);

const EPOLL: Module = module(
    "ngx_epoll_module",
    &[line("epoll_events", EVENTS, T1, Number), line("worker_aio_requests", EVENTS, T1, Number)],
);

const THREAD_POOL: Module =
    module("ngx_thread_pool_module", &[line("thread_pool", MAIN, T23, Many)]);

const HTTP_MODULE: Module = module("ngx_http_module", &[block("http", MAIN, T0, Once)]);

const STREAM_MODULE: Module = module("ngx_stream_module", &[block("stream", MAIN, T0, Once)]);

const MAIL_MODULE: Module = module("ngx_mail_module", &[block("mail", MAIN, T0, Once)]);

const QUIC: Module = module("ngx_quic_module", &[line("quic_bpf", MAIN, T1, Flag).since("1.25.0")]);
