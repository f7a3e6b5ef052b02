//! Mail.

use super::rows::Set::{Flag, Many, Millis, Number, Once, OneOf, Seconds, Size, SomeOf, Text};
use super::rows::{
    MAIL, MAIL_SERVER, MORE1, Module, T0, T1, T2, T12, TO_MAIL, block, line, module,
};

pub const MODULES: &[Module] = &[
    MAIL_CORE,
    MAIL_SSL,
    MAIL_POP3,
    MAIL_IMAP,
    MAIL_SMTP,
    MAIL_AUTH_HTTP,
    MAIL_PROXY,
    MAIL_REALIP,
];

const MAIL_CORE: Module = module(
    "ngx_mail_core_module",
    &[
        block("server", MAIL, T0, Many),
        line("listen", MAIL_SERVER, MORE1, Many),
        line("protocol", MAIL_SERVER, T1, Many),
        line("timeout", TO_MAIL, T1, Millis),
        line("server_name", TO_MAIL, T1, Text),
        line("error_log", TO_MAIL, MORE1, Many),
        line("resolver", TO_MAIL, MORE1, Once),
        line("resolver_timeout", TO_MAIL, T1, Millis),
        line("max_errors", TO_MAIL, T1, Number),
    ],
);

const MAIL_SSL: Module = module(
    "ngx_mail_ssl_module",
    &[
        line("ssl", TO_MAIL, T1, Once),
        line("starttls", TO_MAIL, T1, Once),
        line("ssl_certificate", TO_MAIL, T1, Many),
        line("ssl_certificate_key", TO_MAIL, T1, Many),
        line("ssl_password_file", TO_MAIL, T1, Once),
        line("ssl_dhparam", TO_MAIL, T1, Text),
        line("ssl_ecdh_curve", TO_MAIL, T1, Text),
        line(
            "ssl_protocols",
            TO_MAIL,
            MORE1,
            SomeOf(&["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]),
        ),
        line("ssl_ciphers", TO_MAIL, T1, Text),
        line("ssl_prefer_server_ciphers", TO_MAIL, T1, Flag),
        line("ssl_session_cache", TO_MAIL, T12, Many),
        line("ssl_session_tickets", TO_MAIL, T1, Flag),
        line("ssl_session_ticket_key", TO_MAIL, T1, Many),
        line("ssl_session_timeout", TO_MAIL, T1, Seconds),
        line("ssl_verify_client", TO_MAIL, T1, OneOf(&["off", "on", "optional", "optional_no_ca"])),
        line("ssl_verify_depth", TO_MAIL, T1, Number),
        line("ssl_client_certificate", TO_MAIL, T1, Text),
        line("ssl_trusted_certificate", TO_MAIL, T1, Text),
        line("ssl_crl", TO_MAIL, T1, Text),
        line("ssl_conf_command", TO_MAIL, T2, Many),
    ],
);

const MAIL_POP3: Module = module(
    "ngx_mail_pop3_module",
    &[
        line("pop3_capabilities", TO_MAIL, MORE1, Many),
        line("pop3_auth", TO_MAIL, MORE1, SomeOf(&["plain", "apop", "cram-md5", "external"])),
    ],
);

const MAIL_IMAP: Module = module(
    "ngx_mail_imap_module",
    &[
        line("imap_client_buffer", TO_MAIL, T1, Size),
        line("imap_capabilities", TO_MAIL, MORE1, Many),
        line("imap_auth", TO_MAIL, MORE1, SomeOf(&["plain", "login", "cram-md5", "external"])),
    ],
);

const MAIL_SMTP: Module = module(
    "ngx_mail_smtp_module",
    &[
        line("smtp_client_buffer", TO_MAIL, T1, Size),
        line("smtp_greeting_delay", TO_MAIL, T1, Millis),
        line("smtp_capabilities", TO_MAIL, MORE1, Many),
        line(
            "smtp_auth",
            TO_MAIL,
            MORE1,
            SomeOf(&["plain", "login", "cram-md5", "external", "none"]),
        ),
    ],
);

const MAIL_AUTH_HTTP: Module = module(
    "ngx_mail_auth_http_module",
    &[
        line("auth_http", TO_MAIL, T1, Many),
        line("auth_http_timeout", TO_MAIL, T1, Millis),
        line("auth_http_header", TO_MAIL, T2, Many),
        line("auth_http_pass_client_cert", TO_MAIL, T1, Flag),
    ],
);

const MAIL_PROXY: Module = module(
    "ngx_mail_proxy_module",
    &[
        line("proxy", TO_MAIL, T1, Flag),
        line("proxy_buffer", TO_MAIL, T1, Size),
        line("proxy_timeout", TO_MAIL, T1, Millis),
        line("proxy_pass_error_message", TO_MAIL, T1, Flag),
        line("xclient", TO_MAIL, T1, Flag),
        line("proxy_smtp_auth", TO_MAIL, T1, Flag),
        line("proxy_protocol", TO_MAIL, T1, Flag),
    ],
);

const MAIL_REALIP: Module =
    module("ngx_mail_realip_module", &[line("set_real_ip_from", TO_MAIL, T1, Many)]);
