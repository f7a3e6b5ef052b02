//! Keys that are inherited: they may stand at the top (`defaults`), in a server and in a route, and
//! count for everything below. The nearest level wins whole: a list or a mapping is never put together
//! from two levels.
//!
//! serde's `flatten` would lose the places, so a macro writes the same fields into each level. A new
//! key is one line here; `check/cursor.rs` finds its value by the key's constant in [`key`].

use serde::Deserialize;

use super::{
    AccessLog, AddedField, Certificate, CrossSite, Given, LimitConn, LimitExcept, LimitReq, List,
    Named, OnStoreDown, ServerTls, Several, ShortOr, Step, Text, Texts,
};

/// A key that is inherited.
pub struct Key<T> {
    pub name: &'static str,
    pub of: for<'a> fn(&Inherited<'a>) -> &'a Given<T>,
}

/// Writes the levels: each has its own fields and all inherited ones.
macro_rules! levels {
    (inherited $keys:tt $($(#[$about:meta])* struct $level:ident $own:tt)*) => {
        inherited! { $keys }
        $(level! { $(#[$about])* $level $keys $own })*
    };
}

macro_rules! inherited {
    ({ $($key:ident: $type:ty,)* }) => {
        /// What one level says of the inherited keys.
        #[derive(Clone, Copy)]
        pub struct Inherited<'a> {
            $($key: &'a Given<$type>,)*
        }

        impl Inherited<'_> {
            /// The names of all of them.
            #[cfg(test)]
            pub const NAMES: &'static [&'static str] = &[$(stringify!($key),)*];
        }

        /// The inherited keys, by their names.
        #[allow(non_upper_case_globals, reason = "they are named as in the file")]
        pub mod key {
            use super::*;

            $(pub const $key: Key<$type> =
                Key { name: stringify!($key), of: |level| level.$key };)*
        }
    };
}

macro_rules! level {
    (
        $(#[$about:meta])* $level:ident
        { $($key:ident: $type:ty,)* }
        { $($own:ident: $own_type:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $level {
            $(pub $own: $own_type,)*
            $(pub $key: Given<$type>,)*
        }

        impl $level {
            /// What it says of the inherited keys.
            pub fn inherited(&self) -> Inherited<'_> {
                Inherited { $($key: &self.$key,)* }
            }
        }
    };
}

levels! {
    inherited {
        session: String,
        session_header: bool,
        require: String,
        denied: String,
        cross_site: CrossSite,
        access: Texts,
        satisfy: String,
        auth_basic: String,
        auth_basic_user_file: String,
        auth_delay: String,
        auth_request: String,
        auth_request_set: Named<String>,
        limit_req: Several<LimitReq>,
        limit_req_status: u16,
        limit_req_dry_run: bool,
        limit_req_log_level: String,
        limit_conn: Several<LimitConn>,
        limit_conn_status: u16,
        limit_conn_dry_run: bool,
        limit_conn_log_level: String,
        limit_rate: String,
        limit_rate_after: String,
        set_real_ip_from: Texts,
        real_ip_header: String,
        real_ip_recursive: bool,
        valid_referers: Texts,
        secure_link: String,
        secure_link_md5: String,
        secure_link_secret: String,
        on_store_down: ShortOr<OnStoreDown>,
        stream: bool,
        body_bytes_max: String,
        error_page: Named<String>,
        recursive_error_pages: bool,
        intercept_errors: bool,
        request_headers: Named<String>,
        pass_request_headers: bool,
        pass_request_body: bool,
        request_method: String,
        request_body: String,
        response_headers: Named<Several<AddedField>>,
        response_trailers: Named<Several<AddedField>>,
        hide_headers: Texts,
        pass_headers: Texts,
        ignore_headers: Texts,
        proxy_redirect: ShortOr<Named<String>>,
        cookie_domain: ShortOr<Named<String>>,
        cookie_path: ShortOr<Named<String>>,
        cookie_flags: ShortOr<Named<Texts>>,
        forwarded_headers: bool,
        resolver: Texts,
        resolver_timeout: String,
        request_buffering: bool,
        client_body_buffer_size: String,
        client_body_in_file_only: String,
        client_body_temp_path: String,
        response_buffering: bool,
        max_temp_file_size: String,
        root: String,
        index: Texts,
        autoindex: bool,
        autoindex_format: String,
        autoindex_exact_size: bool,
        types: Named<Texts>,
        default_type: String,
        charset: String,
        charset_types: Texts,
        etag: bool,
        if_modified_since: String,
        max_ranges: u32,
        gzip_static: String,
        gzip: bool,
        gzip_comp_level: u32,
        gzip_types: Texts,
        gzip_min_length: String,
        gzip_vary: bool,
        gzip_proxied: Texts,
        gzip_http_version: String,
        gzip_sessions: bool,
        gunzip: bool,
        brotli: bool,
        brotli_comp_level: u32,
        zstd: bool,
        zstd_comp_level: u32,
        expires: String,
        security_headers: bool,
        server_tokens: String,
        msie_padding: bool,
        keepalive_timeout: String,
        keepalive_header: String,
        keepalive_requests: u32,
        keepalive_time: String,
        keepalive_disable: Texts,
        send_timeout: String,
        chunked_transfer_encoding: bool,
        lingering_close: String,
        lingering_time: String,
        lingering_timeout: String,
        reset_timedout_connection: bool,
        disable_symlinks: String,
        log_not_found: bool,
        absolute_redirect: bool,
        port_in_redirect: bool,
        server_name_in_redirect: bool,
        rewrite_log: bool,
        access_log: Several<AccessLog>,
    }

    /// `defaults`
    struct Defaults {}

    /// `servers[]`
    struct Server {
        names: List<String>,
        listeners: List<String>,
        rewrite: List<ShortOr<Step>>,
        certificates: List<Certificate>,
        client_header_buffer_size: Text,
        large_client_header_buffers: Text,
        client_header_timeout: Text,
        max_headers: Given<u32>,
        merge_slashes: Given<bool>,
        tls: Given<ServerTls>,
        ignore_invalid_headers: Given<bool>,
        underscores_in_headers: Given<bool>,
        routes: List<Route>,
    }

    /// `servers[].routes[]`
    struct Route {
        path: Text,
        upstream: Text,
        proxy_pass: Text,
        uri: Text,
        alias: Text,
        try_files: Given<Texts>,
        exact: Given<bool>,
        internal: Given<bool>,
        rewrite: List<ShortOr<Step>>,
        limit_except: Given<LimitExcept>,
        r#return: Text,
        routes: List<Route>,
    }
}
