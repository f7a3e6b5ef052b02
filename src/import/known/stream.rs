//! Streams of TCP and UDP.

use super::rows::Set::{Flag, Many, Millis, Number, Once, OneOf, Seconds, Size, SomeOf, Text};
use super::rows::{
    MORE1, MORE2, Module, STREAM, STREAM_SERVER, STREAM_UPSTREAM, T0, T1, T2, T012, T12, T123,
    T1234, TO_STREAM, block, line, module,
};

pub const MODULES: &[Module] = &[
    STREAM_CORE,
    STREAM_LOG,
    STREAM_PROXY,
    STREAM_UPSTREAM_MODULE,
    STREAM_SSL,
    STREAM_REALIP,
    STREAM_LIMIT_CONN,
    STREAM_ACCESS,
    STREAM_GEO,
    STREAM_MAP,
    STREAM_SPLIT_CLIENTS,
    STREAM_RETURN,
    STREAM_SET,
    STREAM_UPSTREAM_HASH,
    STREAM_UPSTREAM_LEAST_CONN,
    STREAM_UPSTREAM_RANDOM,
    STREAM_UPSTREAM_ZONE,
    STREAM_SSL_PREREAD,
    STREAM_GEOIP,
    STREAM_PASS,
];

const STREAM_CORE: Module = module(
    "ngx_stream_core_module",
    &[
        line("variables_hash_max_size", STREAM, T1, Number),
        line("variables_hash_bucket_size", STREAM, T1, Number),
        block("server", STREAM, T0, Many),
        line("listen", STREAM_SERVER, MORE1, Many),
        line("error_log", TO_STREAM, MORE1, Many),
        line("resolver", TO_STREAM, MORE1, Once),
        line("resolver_timeout", TO_STREAM, T1, Millis),
        line("proxy_protocol_timeout", TO_STREAM, T1, Millis),
        line("tcp_nodelay", TO_STREAM, T1, Flag),
        line("preread_buffer_size", TO_STREAM, T1, Size),
        line("preread_timeout", TO_STREAM, T1, Millis),
        line("server_name", STREAM_SERVER, MORE1, Many).since("1.25.5"),
        line("server_names_hash_max_size", STREAM, T1, Number).since("1.25.5"),
        line("server_names_hash_bucket_size", STREAM, T1, Number).since("1.25.5"),
    ],
);

const STREAM_LOG: Module = module(
    "ngx_stream_log_module",
    &[
        line("log_format", STREAM, MORE2, Many),
        line("access_log", TO_STREAM, MORE1, Many),
        line("open_log_file_cache", TO_STREAM, T1234, Once),
    ],
);

const STREAM_PROXY: Module = module(
    "ngx_stream_proxy_module",
    &[
        line("proxy_pass", STREAM_SERVER, T1, Once),
        line("proxy_bind", TO_STREAM, T12, Once),
        line("proxy_socket_keepalive", TO_STREAM, T1, Flag),
        line("proxy_connect_timeout", TO_STREAM, T1, Millis),
        line("proxy_timeout", TO_STREAM, T1, Millis),
        line("proxy_buffer_size", TO_STREAM, T1, Size),
        line("proxy_downstream_buffer", TO_STREAM, T1, Size),
        line("proxy_upstream_buffer", TO_STREAM, T1, Size),
        line("proxy_upload_rate", TO_STREAM, T1, Once),
        line("proxy_download_rate", TO_STREAM, T1, Once),
        line("proxy_requests", TO_STREAM, T1, Number),
        line("proxy_responses", TO_STREAM, T1, Number),
        line("proxy_next_upstream", TO_STREAM, T1, Flag),
        line("proxy_next_upstream_tries", TO_STREAM, T1, Number),
        line("proxy_next_upstream_timeout", TO_STREAM, T1, Millis),
        line("proxy_protocol", TO_STREAM, T1, Flag),
        line("proxy_half_close", TO_STREAM, T1, Flag),
        line("proxy_ssl", TO_STREAM, T1, Flag),
        line("proxy_ssl_session_reuse", TO_STREAM, T1, Flag),
        line(
            "proxy_ssl_protocols",
            TO_STREAM,
            MORE1,
            SomeOf(&["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]),
        ),
        line("proxy_ssl_ciphers", TO_STREAM, T1, Text),
        line("proxy_ssl_name", TO_STREAM, T1, Once),
        line("proxy_ssl_server_name", TO_STREAM, T1, Flag),
        line("proxy_ssl_verify", TO_STREAM, T1, Flag),
        line("proxy_ssl_verify_depth", TO_STREAM, T1, Number),
        line("proxy_ssl_trusted_certificate", TO_STREAM, T1, Text),
        line("proxy_ssl_crl", TO_STREAM, T1, Text),
        line("proxy_ssl_certificate", TO_STREAM, T1, Once),
        line("proxy_ssl_certificate_key", TO_STREAM, T1, Once),
        line("proxy_ssl_password_file", TO_STREAM, T1, Once),
        line("proxy_ssl_conf_command", TO_STREAM, T2, Many),
        line("proxy_ssl_certificate_cache", TO_STREAM, T123, Once).since("1.27.4"),
        line("proxy_ssl_key_log", TO_STREAM, T1, Once).since("1.27.2"),
    ],
);

const STREAM_UPSTREAM_MODULE: Module = module(
    "ngx_stream_upstream_module",
    &[
        block("upstream", STREAM, T1, Many),
        line("server", STREAM_UPSTREAM, MORE1, Many),
        line("resolver", STREAM_UPSTREAM, MORE1, Once).since("1.27.3"),
        line("resolver_timeout", STREAM_UPSTREAM, T1, Millis).since("1.27.3"),
    ],
);

const STREAM_SSL: Module = module(
    "ngx_stream_ssl_module",
    &[
        line("ssl_handshake_timeout", TO_STREAM, T1, Millis),
        line("ssl_certificate", TO_STREAM, T1, Many),
        line("ssl_certificate_key", TO_STREAM, T1, Many),
        line("ssl_password_file", TO_STREAM, T1, Once),
        line("ssl_dhparam", TO_STREAM, T1, Text),
        line("ssl_ecdh_curve", TO_STREAM, T1, Text),
        line(
            "ssl_protocols",
            TO_STREAM,
            MORE1,
            SomeOf(&["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]),
        ),
        line("ssl_ciphers", TO_STREAM, T1, Text),
        line(
            "ssl_verify_client",
            TO_STREAM,
            T1,
            OneOf(&["off", "on", "optional", "optional_no_ca"]),
        ),
        line("ssl_verify_depth", TO_STREAM, T1, Number),
        line("ssl_client_certificate", TO_STREAM, T1, Text),
        line("ssl_trusted_certificate", TO_STREAM, T1, Text),
        line("ssl_prefer_server_ciphers", TO_STREAM, T1, Flag),
        line("ssl_session_cache", TO_STREAM, T12, Many),
        line("ssl_session_tickets", TO_STREAM, T1, Flag),
        line("ssl_session_ticket_key", TO_STREAM, T1, Many),
        line("ssl_session_timeout", TO_STREAM, T1, Seconds),
        line("ssl_crl", TO_STREAM, T1, Text),
        line("ssl_conf_command", TO_STREAM, T2, Many),
        line("ssl_alpn", TO_STREAM, MORE1, Once),
        line("ssl_certificate_cache", TO_STREAM, T123, Once).since("1.27.4"),
        line("ssl_certificate_compression", TO_STREAM, T1, Flag).since("1.29.1"),
        line("ssl_key_log", TO_STREAM, T1, Once).since("1.29.0"),
        line("ssl_ech_file", TO_STREAM, T1, Many).since("1.29.4"),
        line("ssl_ocsp", TO_STREAM, T1, OneOf(&["off", "on", "leaf"])).since("1.27.2"),
        line("ssl_ocsp_responder", TO_STREAM, T1, Text).since("1.27.2"),
        line("ssl_ocsp_cache", TO_STREAM, T1, Once).since("1.27.2"),
        line("ssl_stapling", TO_STREAM, T1, Flag).since("1.27.2"),
        line("ssl_stapling_file", TO_STREAM, T1, Text).since("1.27.2"),
        line("ssl_stapling_responder", TO_STREAM, T1, Text).since("1.27.2"),
        line("ssl_stapling_verify", TO_STREAM, T1, Flag).since("1.27.2"),
        line("ssl_reject_handshake", TO_STREAM, T1, Flag).since("1.25.5"),
    ],
);

const STREAM_REALIP: Module =
    module("ngx_stream_realip_module", &[line("set_real_ip_from", TO_STREAM, T1, Many)]);

const STREAM_LIMIT_CONN: Module = module(
    "ngx_stream_limit_conn_module",
    &[
        line("limit_conn_zone", STREAM, T2, Many),
        line("limit_conn", TO_STREAM, T2, Many),
        line("limit_conn_log_level", TO_STREAM, T1, OneOf(&["info", "notice", "warn", "error"])),
        line("limit_conn_dry_run", TO_STREAM, T1, Flag),
    ],
);

const STREAM_ACCESS: Module = module(
    "ngx_stream_access_module",
    &[line("allow", TO_STREAM, T1, Many), line("deny", TO_STREAM, T1, Many)],
);

const STREAM_GEO: Module = module("ngx_stream_geo_module", &[block("geo", STREAM, T12, Many)]);

const STREAM_MAP: Module = module(
    "ngx_stream_map_module",
    &[
        block("map", STREAM, T2, Many),
        line("map_hash_max_size", STREAM, T1, Number),
        line("map_hash_bucket_size", STREAM, T1, Number),
    ],
);

const STREAM_SPLIT_CLIENTS: Module =
    module("ngx_stream_split_clients_module", &[block("split_clients", STREAM, T2, Many)]);

const STREAM_RETURN: Module =
    module("ngx_stream_return_module", &[line("return", STREAM_SERVER, T1, Once)]);

const STREAM_SET: Module = module("ngx_stream_set_module", &[line("set", STREAM_SERVER, T2, Many)]);

const STREAM_UPSTREAM_HASH: Module =
    module("ngx_stream_upstream_hash_module", &[line("hash", STREAM_UPSTREAM, T12, Many)]);

const STREAM_UPSTREAM_LEAST_CONN: Module = module(
    "ngx_stream_upstream_least_conn_module",
    &[line("least_conn", STREAM_UPSTREAM, T0, Many)],
);

const STREAM_UPSTREAM_RANDOM: Module =
    module("ngx_stream_upstream_random_module", &[line("random", STREAM_UPSTREAM, T012, Many)]);

const STREAM_UPSTREAM_ZONE: Module =
    module("ngx_stream_upstream_zone_module", &[line("zone", STREAM_UPSTREAM, T12, Many)]);

const STREAM_SSL_PREREAD: Module =
    module("ngx_stream_ssl_preread_module", &[line("ssl_preread", TO_STREAM, T1, Flag)]);

const STREAM_GEOIP: Module = module(
    "ngx_stream_geoip_module",
    &[
        line("geoip_country", STREAM, T12, Many),
        line("geoip_org", STREAM, T12, Many),
        line("geoip_city", STREAM, T12, Many),
    ],
);

const STREAM_PASS: Module =
    module("ngx_stream_pass_module", &[line("pass", STREAM_SERVER, T1, Once).since("1.25.5")]);
