//! What `-v`, `-V` and `-h` say. Scripts read the version and the modules in it.

use crate::proxy::nginx_pages::VERSION;

/// Where things are that no switch and no directive names: as Debian builds nginx.
pub const PREFIX: &str = "/usr/share/nginx/";
pub const CONF: &str = "/etc/nginx/nginx.conf";
pub const ERROR_LOG: &str = "/var/log/nginx/error.log";
pub const PID: &str = "/run/nginx.pid";

/// Modules of nginx that it has only when asked for, and that are here.
const WITH: &[&str] = &[
    "http_ssl_module",
    "http_v2_module",
    "http_realip_module",
    "http_gzip_static_module",
    "http_gunzip_module",
    "http_auth_request_module",
    "http_secure_link_module",
];

/// Modules that nginx has unless they are left out, and that are not here.
const WITHOUT: &[&str] = &[
    "http_ssi_module",
    "http_userid_module",
    "http_mirror_module",
    "http_fastcgi_module",
    "http_uwsgi_module",
    "http_scgi_module",
    "http_memcached_module",
    "http_empty_gif_module",
    "http_browser_module",
    "http-cache",
    "stream",
];

/// nginx's form for a build of somebody's own: the version that is followed, then who follows it.
pub fn short() -> String {
    format!("nginx version: nginx/{VERSION} (cloakroom/{})", env!("CARGO_PKG_VERSION"))
}

/// What it was built with.
pub fn configure() -> String {
    let with = WITH.iter().map(|module| format!(" --with-{module}"));
    let without = WITHOUT.iter().map(|module| format!(" --without-{module}"));
    let modules: String = with.chain(without).collect();
    format!(
        "built with rustls and aws-lc-rs\nTLS SNI support enabled\nconfigure arguments: \
         --prefix={PREFIX} --conf-path={CONF} --error-log-path={ERROR_LOG} --pid-path={PID} \
         --with-debug{modules}"
    )
}

/// nginx's help.
pub fn help() -> String {
    format!(
        "Usage: nginx [-?hvVtTq] [-s signal] [-p prefix]\n             \
         [-e filename] [-c filename] [-g directives]\n\nOptions:\n  \
         -?,-h         : this help\n  \
         -v            : show version and exit\n  \
         -V            : show version and configure options then exit\n  \
         -t            : test configuration and exit\n  \
         -T            : test configuration, dump it and exit\n  \
         -q            : suppress non-error messages during configuration testing\n  \
         -s signal     : send signal to a master process: stop, quit, reopen, reload\n  \
         -p prefix     : set prefix path (default: {PREFIX})\n  \
         -e filename   : set error log file (default: {ERROR_LOG})\n  \
         -c filename   : set configuration file (default: {CONF})\n  \
         -g directives : set global directives out of configuration file\n"
    )
}
