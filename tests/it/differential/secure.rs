//! Over TLS.

use super::group::Group;
use crate::support::tls::Certificate;

pub fn groups() -> Vec<Group> {
    let certificate = Certificate::for_names(&["a.example", "b.example"]);
    let group = Group::new(
        "over TLS",
        "ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem; \
         server { listen 127.0.0.1:{port}; listen 127.0.0.1:{other} ssl; server_name a.example; root {dir}; \
         location / { return 200 '$scheme $https $host $server_port'; } location /old { return 301 /new; } \
         location /dir { } location /app { proxy_pass http://{origin}; proxy_set_header X-Scheme $scheme; } } \
         server { listen 127.0.0.1:{other} ssl; server_name b.example; return 200 'b $ssl_protocol'; }",
    )
    .file("cert.pem", certificate.chain_pem.as_bytes())
    .file("key.pem", certificate.key_pem.as_bytes())
    .file("dir/x", "x");
    let group = group.gets(&["/", "/old", "/app"]);
    let group = ["/", "/old", "/old?x=y", "/dir", "/app", "/app?x"]
        .iter()
        .fold(group, |group, target| group.get(target).over_tls("a.example"));
    vec![group.ask("GET", "b.example", "/", &[], "").over_tls("b.example")]
}
