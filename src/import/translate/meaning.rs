//! What becomes of each directive: what the translation takes is written elsewhere, all others stand here.

use super::notes::Matter;

const ITS_OWN: &str = "it tunes nginx's own memory and processes; nothing here is sized by it";
const SOCKETS: &str = "sockets are tuned by the engine itself";
const FILES: &str = "files are read in pieces by the engine itself";
const CIPHERS: &str = "TLS is rustls: only modern ciphers and curves, in its own order";
const EARLY: &str = "what comes with the first packet could be sent again by anybody: it is not taken, \
                     and clients send it again by themselves";
const STAPLES: &str =
    "what an issuer says is shown from ssl_stapling_file alone; nobody is asked for it";
const OCSP: &str =
    "no issuer is asked about a client's certificate: give revocation lists by ssl_crl";
const KEY_LOG: &str = "keys of connections are written nowhere";
const TEMPORARY: &str = "what waits for a slow client lies in files without a name, in TMPDIR";
const PACKERS: &str = "packers have memory of their own, and no browser in use needs an exception";
const BUFFERS: &str = "bodies are streamed with bounded memory; no buffers are configured";
const CACHE: &str = "there is no cache here; requests are proxied without it";
const SSI: &str = "answers are not searched for commands; pages go out as they are";
const ANOTHER: &str = "answers are not rewritten";
const FASTCGI: &str =
    "only HTTP is spoken to workers; put an HTTP server in front of the application";
const NOT_YET: &str = "there is no counterpart yet";

/// Directives that are not translated, with why.
pub fn of(name: &str) -> (Matter, &'static str) {
    match name {
        "worker_connections"
        | "worker_rlimit_nofile"
        | "worker_rlimit_core"
        | "worker_priority"
        | "worker_cpu_affinity"
        | "worker_aio_requests"
        | "use"
        | "multi_accept"
        | "accept_mutex"
        | "accept_mutex_delay"
        | "debug_connection"
        | "pcre_jit"
        | "timer_resolution"
        | "thread_pool"
        | "lock_file"
        | "master_process"
        | "debug_points"
        | "working_directory"
        | "variables_hash_bucket_size"
        | "variables_hash_max_size"
        | "server_names_hash_bucket_size"
        | "server_names_hash_max_size"
        | "types_hash_bucket_size"
        | "types_hash_max_size"
        | "map_hash_bucket_size"
        | "map_hash_max_size"
        | "proxy_headers_hash_bucket_size"
        | "proxy_headers_hash_max_size"
        | "connection_pool_size"
        | "request_pool_size"
        | "output_buffers"
        | "postpone_output"
        | "read_ahead"
        | "subrequest_output_buffer_size"
        | "uninitialized_variable_warn"
        | "zone"
        | "ssl_buffer_size" => (Matter::Meaningless, ITS_OWN),
        "tcp_nodelay"
        | "tcp_nopush"
        | "send_lowat"
        | "proxy_socket_keepalive"
        | "proxy_send_lowat" => (Matter::Meaningless, SOCKETS),
        "sendfile"
        | "sendfile_max_chunk"
        | "aio"
        | "aio_write"
        | "directio"
        | "directio_alignment"
        | "open_file_cache"
        | "open_file_cache_valid"
        | "open_file_cache_min_uses"
        | "open_file_cache_errors" => (Matter::Meaningless, FILES),
        "ssl_dhparam"
        | "ssl_dyn_rec_enable"
        | "ssl_certificate_cache"
        | "proxy_ssl_certificate_cache"
        | "grpc_ssl_certificate_cache" => (Matter::Meaningless, CIPHERS),
        "ssl_early_data" => (Matter::Different, EARLY),
        "ssl_stapling" | "ssl_stapling_responder" | "ssl_stapling_verify" => {
            (Matter::Different, STAPLES)
        }
        "ssl_ocsp" | "ssl_ocsp_responder" | "ssl_ocsp_cache" => (Matter::Left, OCSP),
        "ssl_certificate_compression" => (Matter::Different, CIPHERS),
        "ssl_key_log" | "proxy_ssl_key_log" | "grpc_ssl_key_log" => (Matter::Left, KEY_LOG),
        "ssl_conf_command"
        | "proxy_ssl_ciphers"
        | "grpc_ssl_ciphers"
        | "proxy_ssl_conf_command"
        | "grpc_ssl_conf_command" => (Matter::Different, CIPHERS),
        "proxy_temp_path"
        | "fastcgi_temp_path"
        | "uwsgi_temp_path"
        | "scgi_temp_path"
        | "proxy_temp_file_write_size" => (Matter::Meaningless, TEMPORARY),
        "client_body_in_single_buffer" => (Matter::Meaningless, "`$request_body` is whole"),
        "proxy_buffers" | "proxy_buffer_size" | "proxy_busy_buffers_size" => {
            (Matter::Meaningless, BUFFERS)
        }
        "gzip_disable" | "gzip_buffers" | "gzip_window" | "gzip_hash" | "gzip_no_buffer"
        | "gunzip_buffers" | "postpone_gzipping" => (Matter::Meaningless, PACKERS),
        name if name.starts_with("proxy_cache") => (Matter::Left, CACHE),
        "proxy_no_cache" | "proxy_store" | "proxy_store_access" | "slice" => (Matter::Left, CACHE),
        name if name.starts_with("ssi") => (Matter::Left, SSI),
        name if name.starts_with("sub_filter") => (Matter::Left, ANOTHER),
        "add_before_body" | "add_after_body" | "addition_types" => (Matter::Left, ANOTHER),
        name if ["fastcgi_", "uwsgi_", "scgi_", "memcached_"]
            .iter()
            .any(|p| name.starts_with(p)) =>
        {
            (Matter::Left, FASTCGI)
        }
        "perl" | "perl_set" | "perl_modules" | "perl_require" | "js_import" | "js_set"
        | "js_content" | "js_path" => (Matter::Left, "no code runs inside the proxy"),
        "stream" | "mail" => (Matter::Left, "only HTTP is proxied; leave this block to nginx"),
        "load_module" => (Matter::Meaningless, "what is built in is always there"),
        "daemon" | "pid" | "user" => (
            Matter::Meaningless,
            "the service manager's business (systemd/), but under the name nginx, which does it",
        ),
        "error_log" => {
            (Matter::Different, "what is said of all servers goes to all logs of errors")
        }
        "env" => (Matter::Meaningless, "the environment is passed on to nobody"),
        "http2_max_field_size"
        | "http2_max_header_size"
        | "http2_max_requests"
        | "http2_idle_timeout"
        | "http2_recv_timeout"
        | "http2_recv_buffer_size"
        | "http2_body_preread_size"
        | "http2_chunk_size"
        | "http2_max_concurrent_pushes"
        | "http2_push"
        | "http2_push_preload" => (Matter::Meaningless, "HTTP/2 has limits of its own"),
        "http3" | "http3_hq" | "quic_retry" | "quic_gso" | "quic_host_key" => {
            (Matter::Left, "HTTP/3 is not spoken; clients fall back to HTTP/2")
        }
        "server_tokens" => (Matter::Meaningless, "no answer names the product or its version"),
        "proxy_http_version" => {
            (Matter::Meaningless, "HTTP/1.1 with kept connections is spoken to workers")
        }
        "keepalive" => (Matter::Meaningless, "connections to workers are kept without being asked"),
        _ => (Matter::Left, NOT_YET),
    }
}
