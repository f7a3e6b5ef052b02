//! The report as one page: no script, nothing that is loaded.

use std::fmt::Write;

use super::report::Told;
use crate::proxy::devices::escaped;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #8886}\
code{overflow-wrap:anywhere}\
.bad{color:#b00020}@media(prefers-color-scheme:dark){.bad{color:#ff8a80}}";

pub(super) fn page(told: &Told) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Cookies and logins</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>Cookies and logins</h1>\n"
    );
    let mut add = |arguments: std::fmt::Arguments<'_>| {
        page.write_fmt(arguments).expect("a string takes what is written to it");
    };
    add(format_args!("<h2>Cookies</h2>\n"));
    if told.cookies.is_empty() {
        add(format_args!("<p>Nothing was found.</p>\n"));
    } else {
        add(format_args!(
            "<table>\n<thead><tr><th>Host</th><th>Cookie</th><th>Browsers</th><th>Should have</th><th>As it would leave</th></tr></thead>\n<tbody>\n"
        ));
    }
    for one in &told.cookies {
        let lines = |texts: &[&str]| {
            texts.iter().map(|text| escaped(text)).collect::<Vec<_>>().join("<br>")
        };
        add(format_args!(
            "<tr><td>{}</td><td><code>{}</code><br>{}</td><td class=\"bad\">{}</td><td>{}<br>{}</td><td><code>{}</code></td></tr>\n",
            escaped(&one.host),
            escaped(&one.name),
            escaped(&one.policy),
            lines(&one.dropped),
            escaped(&one.lacks.join(", ")),
            lines(&one.notes),
            escaped(one.instead.as_deref().unwrap_or_default()),
        ));
    }
    if !told.cookies.is_empty() {
        add(format_args!("</tbody>\n</table>\n"));
    }
    add(format_args!("<h2>Logins</h2>\n"));
    if told.logins.is_empty() && told.unexplained.is_empty() {
        add(format_args!("<p>No identifier was seen to become somebody.</p>\n"));
    }
    add(format_args!("<ul>\n"));
    for one in &told.logins {
        let bad = if one.unrotated > 0 { " class=\"bad\"" } else { "" };
        add(format_args!(
            "<li{bad}><code>{}</code> ({}): {} logins, {} left the identifier as it was</li>\n",
            escaped(&one.request),
            escaped(&one.policy),
            one.times,
            one.unrotated,
        ));
    }
    for (policy, times) in &told.unexplained {
        add(format_args!(
            "<li class=\"bad\">{}: {times} times an identifier became somebody by nothing that the log shows</li>\n",
            escaped(policy)
        ));
    }
    add(format_args!("</ul>\n</body>\n</html>\n"));
    page
}
