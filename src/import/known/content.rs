//! HTTP: everything else: variables, rewriting, access, content, filters.

use super::rows::Set::{
    Access, Buffers, Flag, Many, Number, Once, OneOf, Size, SomeOf, Text, Within,
};
use super::rows::{
    HTTP, LIMIT_EXCEPT, LOCATION, LOCATION_IF, MORE1, MORE2, Module, SERVER, SERVER_IF, T0, T01,
    T1, T2, T3, T12, T23, T123, TO_IF, TO_LOCATION, TO_SERVER, block, line, module,
};

pub const MODULES: &[Module] = &[
    HTTP_HEADER_COUNT,
    HTTP_GZIP_STATIC,
    HTTP_DAV,
    HTTP_AUTOINDEX,
    HTTP_INDEX,
    HTTP_RANDOM_INDEX,
    HTTP_MIRROR,
    HTTP_TRY_FILES,
    HTTP_AUTH_REQUEST,
    HTTP_AUTH_BASIC,
    HTTP_ACCESS,
    HTTP_LIMIT_CONN,
    HTTP_LIMIT_REQ,
    HTTP_REALIP,
    HTTP_GEO,
    HTTP_MAP,
    HTTP_SPLIT_CLIENTS,
    HTTP_REFERER,
    HTTP_REWRITE,
    HTTP_EMPTY_GIF,
    HTTP_BROWSER,
    HTTP_SECURE_LINK,
    HTTP_FLV,
    HTTP_MP4,
    HTTP_STUB_STATUS,
    HTTP_GZIP_FILTER,
    HTTP_SSI_FILTER,
    HTTP_CHARSET_FILTER,
    HTTP_SUB_FILTER,
    HTTP_ADDITION_FILTER,
    HTTP_GUNZIP_FILTER,
    HTTP_USERID_FILTER,
    HTTP_HEADERS_FILTER,
    HTTP_COPY_FILTER,
    HTTP_SLICE_FILTER,
    HTTP_GEOIP,
    HTTP_IMAGE_FILTER,
    HTTP_PERL,
    HTTP_XSLT_FILTER,
];

const HTTP_HEADER_COUNT: Module =
    module("ngx_http_header_count_module", &[line("max_headers", TO_SERVER, T1, Number)]);

const HTTP_GZIP_STATIC: Module = module(
    "ngx_http_gzip_static_module",
    &[line("gzip_static", TO_LOCATION, T1, OneOf(&["off", "on", "always"]))],
);

const HTTP_DAV: Module = module(
    "ngx_http_dav_module",
    &[
        line(
            "dav_methods",
            TO_LOCATION,
            MORE1,
            SomeOf(&["off", "put", "delete", "mkcol", "copy", "move"]),
        ),
        line("create_full_put_path", TO_LOCATION, T1, Flag),
        line("min_delete_depth", TO_LOCATION, T1, Number),
        line("dav_access", TO_LOCATION, T123, Access),
    ],
);

const HTTP_AUTOINDEX: Module = module(
    "ngx_http_autoindex_module",
    &[
        line("autoindex", TO_LOCATION, T1, Flag),
        line("autoindex_format", TO_LOCATION, T1, OneOf(&["html", "json", "jsonp", "xml"])),
        line("autoindex_localtime", TO_LOCATION, T1, Flag),
        line("autoindex_exact_size", TO_LOCATION, T1, Flag),
    ],
);

const HTTP_INDEX: Module =
    module("ngx_http_index_module", &[line("index", TO_LOCATION, MORE1, Many)]);

const HTTP_RANDOM_INDEX: Module =
    module("ngx_http_random_index_module", &[line("random_index", LOCATION, T1, Flag)]);

const HTTP_MIRROR: Module = module(
    "ngx_http_mirror_module",
    &[line("mirror", TO_LOCATION, T1, Many), line("mirror_request_body", TO_LOCATION, T1, Flag)],
);

const HTTP_TRY_FILES: Module =
    module("ngx_http_try_files_module", &[line("try_files", SERVER | LOCATION, MORE2, Once)]);

const HTTP_AUTH_REQUEST: Module = module(
    "ngx_http_auth_request_module",
    &[line("auth_request", TO_LOCATION, T1, Once), line("auth_request_set", TO_LOCATION, T2, Many)],
);

const HTTP_AUTH_BASIC: Module = module(
    "ngx_http_auth_basic_module",
    &[
        line("auth_basic", TO_LOCATION | LIMIT_EXCEPT, T1, Once),
        line("auth_basic_user_file", TO_LOCATION | LIMIT_EXCEPT, T1, Once),
    ],
);

const HTTP_ACCESS: Module = module(
    "ngx_http_access_module",
    &[
        line("allow", TO_LOCATION | LIMIT_EXCEPT, T1, Many),
        line("deny", TO_LOCATION | LIMIT_EXCEPT, T1, Many),
    ],
);

const HTTP_LIMIT_CONN: Module = module(
    "ngx_http_limit_conn_module",
    &[
        line("limit_conn_zone", HTTP, T2, Many),
        line("limit_conn", TO_LOCATION, T2, Many),
        line("limit_conn_log_level", TO_LOCATION, T1, OneOf(&["info", "notice", "warn", "error"])),
        line("limit_conn_status", TO_LOCATION, T1, Within(400, 599)),
        line("limit_conn_dry_run", TO_LOCATION, T1, Flag),
    ],
);

const HTTP_LIMIT_REQ: Module = module(
    "ngx_http_limit_req_module",
    &[
        line("limit_req_zone", HTTP, T3, Many),
        line("limit_req", TO_LOCATION, T123, Many),
        line("limit_req_log_level", TO_LOCATION, T1, OneOf(&["info", "notice", "warn", "error"])),
        line("limit_req_status", TO_LOCATION, T1, Within(400, 599)),
        line("limit_req_dry_run", TO_LOCATION, T1, Flag),
    ],
);

const HTTP_REALIP: Module = module(
    "ngx_http_realip_module",
    &[
        line("set_real_ip_from", TO_LOCATION, T1, Many),
        line("real_ip_header", TO_LOCATION, T1, Once),
        line("real_ip_recursive", TO_LOCATION, T1, Flag),
    ],
);

const HTTP_GEO: Module = module("ngx_http_geo_module", &[block("geo", HTTP, T12, Many)]);

const HTTP_MAP: Module = module(
    "ngx_http_map_module",
    &[
        block("map", HTTP, T2, Many),
        line("map_hash_max_size", HTTP, T1, Number),
        line("map_hash_bucket_size", HTTP, T1, Number),
    ],
);

const HTTP_SPLIT_CLIENTS: Module =
    module("ngx_http_split_clients_module", &[block("split_clients", HTTP, T2, Many)]);

const HTTP_REFERER: Module = module(
    "ngx_http_referer_module",
    &[
        line("valid_referers", SERVER | LOCATION, MORE1, Many),
        line("referer_hash_max_size", SERVER | LOCATION, T1, Number),
        line("referer_hash_bucket_size", SERVER | LOCATION, T1, Number),
    ],
);

const HTTP_REWRITE: Module = module(
    "ngx_http_rewrite_module",
    &[
        line("rewrite", SERVER | LOCATION | SERVER_IF | LOCATION_IF, T23, Many),
        line("return", SERVER | LOCATION | SERVER_IF | LOCATION_IF, T12, Many),
        line("break", SERVER | LOCATION | SERVER_IF | LOCATION_IF, T0, Many),
        block("if", SERVER | LOCATION, MORE1, Many),
        line("set", SERVER | LOCATION | SERVER_IF | LOCATION_IF, T2, Many),
        line("rewrite_log", TO_LOCATION | SERVER_IF | LOCATION_IF, T1, Flag),
        line("uninitialized_variable_warn", TO_LOCATION | SERVER_IF | LOCATION_IF, T1, Flag),
    ],
);

const HTTP_EMPTY_GIF: Module =
    module("ngx_http_empty_gif_module", &[line("empty_gif", LOCATION, T0, Many)]);

const HTTP_BROWSER: Module = module(
    "ngx_http_browser_module",
    &[
        line("modern_browser", TO_LOCATION, T12, Many),
        line("ancient_browser", TO_LOCATION, MORE1, Many),
        line("modern_browser_value", TO_LOCATION, T1, Many),
        line("ancient_browser_value", TO_LOCATION, T1, Many),
    ],
);

const HTTP_SECURE_LINK: Module = module(
    "ngx_http_secure_link_module",
    &[
        line("secure_link", TO_LOCATION, T1, Once),
        line("secure_link_md5", TO_LOCATION, T1, Once),
        line("secure_link_secret", TO_LOCATION, T1, Text),
    ],
);

const HTTP_FLV: Module = module("ngx_http_flv_module", &[line("flv", LOCATION, T0, Many)]);

const HTTP_MP4: Module = module(
    "ngx_http_mp4_module",
    &[
        line("mp4", LOCATION, T0, Many),
        line("mp4_buffer_size", TO_LOCATION, T1, Size),
        line("mp4_max_buffer_size", TO_LOCATION, T1, Size),
        line("mp4_start_key_frame", TO_LOCATION, T1, Flag),
    ],
);

const HTTP_STUB_STATUS: Module =
    module("ngx_http_stub_status_module", &[line("stub_status", SERVER | LOCATION, T01, Many)]);

const HTTP_GZIP_FILTER: Module = module(
    "ngx_http_gzip_filter_module",
    &[
        line("gzip", TO_IF, T1, Flag),
        line("gzip_buffers", TO_LOCATION, T2, Buffers),
        line("gzip_types", TO_LOCATION, MORE1, Many),
        line("gzip_comp_level", TO_LOCATION, T1, Within(1, 9)),
        line("gzip_window", TO_LOCATION, T1, Size),
        line("gzip_hash", TO_LOCATION, T1, Size),
        line("postpone_gzipping", TO_LOCATION, T1, Size),
        line("gzip_no_buffer", TO_LOCATION, T1, Flag),
        line("gzip_min_length", TO_LOCATION, T1, Size),
    ],
);

const HTTP_SSI_FILTER: Module = module(
    "ngx_http_ssi_filter_module",
    &[
        line("ssi", TO_IF, T1, Flag),
        line("ssi_silent_errors", TO_LOCATION, T1, Flag),
        line("ssi_ignore_recycled_buffers", TO_LOCATION, T1, Flag),
        line("ssi_min_file_chunk", TO_LOCATION, T1, Size),
        line("ssi_value_length", TO_LOCATION, T1, Size),
        line("ssi_types", TO_LOCATION, MORE1, Many),
        line("ssi_last_modified", TO_LOCATION, T1, Flag),
    ],
);

const HTTP_CHARSET_FILTER: Module = module(
    "ngx_http_charset_filter_module",
    &[
        line("charset", TO_IF, T1, Once),
        line("source_charset", TO_IF, T1, Once),
        line("override_charset", TO_IF, T1, Flag),
        line("charset_types", TO_LOCATION, MORE1, Many),
        block("charset_map", HTTP, T2, Many),
    ],
);

const HTTP_SUB_FILTER: Module = module(
    "ngx_http_sub_filter_module",
    &[
        line("sub_filter", TO_LOCATION, T2, Many),
        line("sub_filter_types", TO_LOCATION, MORE1, Many),
        line("sub_filter_once", TO_LOCATION, T1, Flag),
        line("sub_filter_last_modified", TO_LOCATION, T1, Flag),
    ],
);

const HTTP_ADDITION_FILTER: Module = module(
    "ngx_http_addition_filter_module",
    &[
        line("add_before_body", TO_LOCATION, T1, Text),
        line("add_after_body", TO_LOCATION, T1, Text),
        line("addition_types", TO_LOCATION, MORE1, Many),
    ],
);

const HTTP_GUNZIP_FILTER: Module = module(
    "ngx_http_gunzip_filter_module",
    &[line("gunzip", TO_LOCATION, T1, Flag), line("gunzip_buffers", TO_LOCATION, T2, Buffers)],
);

const HTTP_USERID_FILTER: Module = module(
    "ngx_http_userid_filter_module",
    &[
        line("userid", TO_LOCATION, T1, OneOf(&["off", "log", "v1", "on"])),
        line("userid_service", TO_LOCATION, T1, Number),
        line("userid_name", TO_LOCATION, T1, Text),
        line("userid_domain", TO_LOCATION, T1, Text),
        line("userid_path", TO_LOCATION, T1, Text),
        line("userid_expires", TO_LOCATION, T1, Once),
        line(
            "userid_flags",
            TO_LOCATION,
            T123,
            SomeOf(&[
                "off",
                "secure",
                "httponly",
                "samesite=strict",
                "samesite=lax",
                "samesite=none",
            ]),
        ),
        line("userid_p3p", TO_LOCATION, T1, Text),
        line("userid_mark", TO_LOCATION, T1, Once),
    ],
);

const HTTP_HEADERS_FILTER: Module = module(
    "ngx_http_headers_filter_module",
    &[
        line("expires", TO_IF, T12, Once),
        line("add_header", TO_IF, T23, Many),
        line("add_trailer", TO_IF, T23, Many),
        line("add_header_inherit", TO_IF, T1, OneOf(&["off", "on", "merge"])).since("1.29.3"),
        line("add_trailer_inherit", TO_IF, T1, OneOf(&["off", "on", "merge"])).since("1.29.3"),
    ],
);

const HTTP_COPY_FILTER: Module =
    module("ngx_http_copy_filter_module", &[line("output_buffers", TO_LOCATION, T2, Buffers)]);

const HTTP_SLICE_FILTER: Module =
    module("ngx_http_slice_filter_module", &[line("slice", TO_LOCATION, T1, Size)]);

const HTTP_GEOIP: Module = module(
    "ngx_http_geoip_module",
    &[
        line("geoip_country", HTTP, T12, Many),
        line("geoip_org", HTTP, T12, Many),
        line("geoip_city", HTTP, T12, Many),
        line("geoip_proxy", HTTP, T1, Many),
        line("geoip_proxy_recursive", HTTP, T1, Flag),
    ],
);

const HTTP_IMAGE_FILTER: Module = module(
    "ngx_http_image_filter_module",
    &[
        line("image_filter", LOCATION, T123, Many),
        line("image_filter_jpeg_quality", TO_LOCATION, T1, Many),
        line("image_filter_webp_quality", TO_LOCATION, T1, Many),
        line("image_filter_sharpen", TO_LOCATION, T1, Many),
        line("image_filter_transparency", TO_LOCATION, T1, Flag),
        line("image_filter_interlace", TO_LOCATION, T1, Flag),
        line("image_filter_buffer", TO_LOCATION, T1, Size),
    ],
);

const HTTP_PERL: Module = module(
    "ngx_http_perl_module",
    &[
        line("perl_modules", HTTP, T1, Many),
        line("perl_require", HTTP, T1, Many),
        line("perl", LOCATION | LIMIT_EXCEPT, T1, Many),
        line("perl_set", HTTP, T2, Many),
    ],
);

const HTTP_XSLT_FILTER: Module = module(
    "ngx_http_xslt_filter_module",
    &[
        line("xml_entities", TO_LOCATION, T1, Many),
        line("xslt_stylesheet", LOCATION, MORE1, Many),
        line("xslt_param", TO_LOCATION, T2, Many),
        line("xslt_string_param", TO_LOCATION, T2, Many),
        line("xslt_types", TO_LOCATION, MORE1, Many),
        line("xslt_last_modified", TO_LOCATION, T1, Flag),
    ],
);
