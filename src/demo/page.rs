//! The demo shop's pages. Whatever a visitor chose is escaped.

use std::fmt::Write;

use crate::proxy::devices::escaped;

/// What the front page says.
pub(super) struct Home<'a> {
    pub worker: &'a str,
    pub user: Option<&'a str>,
    pub visits: u64,
    /// The Cookie line as the worker received it.
    pub cookie: Option<&'a str>,
}

/// The front page.
pub(super) fn home(home: &Home<'_>) -> String {
    let user = home.user.unwrap_or("nobody in particular");
    let body = format!(
        "<p>You are <b>{}</b>. Worker <b>{}</b> answers; this is visit {} of your session.</p>\n\
         <p>Cookies that reached the worker: <code>{}</code></p>",
        escaped(user),
        escaped(home.worker),
        home.visits,
        escaped(home.cookie.unwrap_or("none")),
    );
    page("The demo shop", &body)
}

/// The login form, after a failed attempt with a word about it.
pub(super) fn login(failed: bool) -> String {
    let notice = if failed { "<p><b>That was wrong.</b></p>\n" } else { "" };
    let form = "<form method=\"post\" action=\"/login\">\n\
         <label>Name <input name=\"username\" autocomplete=\"username\"></label>\n\
         <label>Password <input name=\"password\" type=\"password\"></label>\n\
         <button>Log in</button>\n</form>\n\
         <p>Any password will do, except <code>wrong</code>.</p>";
    page("Log in", &format!("{notice}{form}"))
}

/// A user's own page.
pub(super) fn account(worker: &str, user: &str) -> String {
    let body = format!(
        "<p>This page belongs to <b>{}</b>. Worker <b>{}</b> says so.</p>\n\
         <form method=\"post\" action=\"/logout\"><button>Log out</button></form>",
        escaped(user),
        escaped(worker),
    );
    page("Your account", &body)
}

/// The cart.
pub(super) fn cart(items: &[String]) -> String {
    let mut body = String::new();
    if items.is_empty() {
        body.push_str("<p>It is empty.</p>\n");
    } else {
        body.push_str("<ul>\n");
        for item in items {
            writeln!(body, "<li>{}</li>", escaped(item))
                .expect("a string takes what is written to it");
        }
        body.push_str("</ul>\n");
    }
    body.push_str(
        "<form method=\"post\" action=\"/cart/add?item=umbrella\"><button>Add an umbrella</button></form>",
    );
    page("Your cart", &body)
}

/// A page with a heading and a sentence.
pub(super) fn note(title: &str, text: &str) -> String {
    page(title, &format!("<p>{}</p>", escaped(text)))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body>\n<h1>{title}</h1>\n{body}\n\
         <p><a href=\"/\">Home</a> · <a href=\"/cart\">Cart</a> · <a href=\"/account/\">Account</a> · \
         <a href=\"/login\">Log in</a></p>\n</body>\n</html>\n",
        title = escaped(title),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_visitor_chose_is_escaped() {
        let hostile = "<script>alert(\"1\" & '2')</script>";
        let home = Home { worker: "red", user: Some(hostile), visits: 1, cookie: Some(hostile) };
        for page in [
            self::home(&home),
            account("red", hostile),
            cart(&[hostile.to_owned()]),
            note(hostile, hostile),
        ] {
            assert!(!page.contains("<script"), "{page}");
            assert!(
                page.contains("&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)"),
                "{page}"
            );
        }
    }
}
