//! `sessions.*.login` and `sessions.*.logout`. Rule numbers are PROTOCOL.md's.

use http::Method;
use serde_saphyr::Spanned;

use crate::config::diagnostic::Severity;
use crate::config::schema::{Failure, Given, List, Login, Logout, Success, Text};
use crate::config::value::name;
use crate::config::value::{Flaw, Parsed, body, choice, path};
use crate::routing::path::PathRule;
use crate::session::answer_body::BodyPattern;
use crate::session::policy::{
    CrossSite, FailurePart, LoginRule, LogoutRule, RequestPart, Rotate, SiteData, SuccessPart,
};

use super::{Checker, Place, at, items, on};

/// Parts of rule 17 that tell a success apart.
const TELLING: &str = "add what only a success has (`header`, `cookie`), or what a failure has: `failure: { location: /login }`";
/// What is left for a body to tell.
const NAMING: &str = "name the answers that a login has: `success: { status: [200] }`";
/// What holds wherever a login leads.
const FAILING: &str =
    "tell failures apart instead: `success: { status: [302] }, failure: { location: /login }`";

impl Checker<'_> {
    pub(super) fn login(&mut self, given: &Spanned<Login>, path: &str) -> Option<LoginRule> {
        const KINDS: [(&str, CrossSite); 2] =
            [("deny", CrossSite::Deny), ("allow", CrossSite::Allow)];
        let rule = &given.value;
        let exact = on(&rule.exact);
        let request = self
            .optional(&rule.request, &format!("{path}.request"), |text| path::request(text, exact));
        let success = self.success(&rule.success, &format!("{path}.success"), exact);
        let cross_site =
            self.or(&rule.cross_site, &format!("{path}.cross_site"), CrossSite::Deny, |text| {
                choice(text, "answer to cross-site logins", &KINDS)
            });
        let failure = self.failures(rule, &format!("{path}.failure"), exact);
        let rotate = self.rotate(rule, &format!("{path}.rotate"));
        let subject = self.subject(rule, path);
        let place = rule.success.as_ref().map_or_else(|| at(given), at);
        self.telling(&success, rule, place, path);
        if rule.request.is_none() {
            self.warning(at(given), &format!("{path}.request"), Flaw::new(
                "without it the login is known only from the answer: until then the old ticket stays good",
                "add the request that logs in, such as `request: POST /login`",
            ));
        } else if request.is_none() {
            return None;
        }
        let request = request.map(|(method, path)| RequestPart { method, path });
        let is_by_get = |request: &RequestPart| {
            request.method.as_ref().is_none_or(|method| *method == Method::GET)
        };
        if cross_site == CrossSite::Deny && request.as_ref().is_some_and(is_by_get) {
            self.report(Severity::Notice, rule.request.as_ref().and_then(at), &format!("{path}.request"), Flaw::new(
                "other sites may lead a visitor to it (a page by GET, as the code flow of OpenID Connect does); what they post, frame or load is refused",
                "the application must know its own logins by `state`, or by a token that is good once",
            ));
        }
        Some(LoginRule { request, success, failure, rotate, cross_site, subject })
    }

    /// Rule 19: what moves the session to another record and ticket.
    fn rotate(&mut self, rule: &Login, path: &str) -> Rotate {
        const KINDS: [(&str, Rotate); 2] =
            [("always", Rotate::Always), ("success", Rotate::OnSuccess)];
        let rotate = self
            .or(&rule.rotate, path, Rotate::Always, |text| choice(text, "kind of answer", &KINDS));
        let place = rule.rotate.as_ref().and_then(at);
        if rotate == Rotate::OnSuccess {
            self.warning(place, path, Flaw::new(
                "a login whose answer is not taken for a success keeps its ticket: whoever has a copy of that is logged in too",
                "keep `always`, unless the same path and method serve other things as well",
            ));
        } else if rule.rotate.is_some() && rule.request.is_none() {
            self.warning(
                place,
                path,
                Flaw::new(
                    "has no effect without `request`: only a success is known to be a login",
                    "add the request that logs in, or leave it out",
                ),
            );
        }
        rotate
    }

    /// Rule 17: success and failure parts that tell one from the other.
    fn telling(&mut self, success: &SuccessPart, rule: &Login, place: Option<Place>, path: &str) {
        let failures = rule.failure.as_ref().map_or(&[][..], |parts| &parts.value.0);
        let has_failure = failures.iter().any(|part| part.body.is_none());
        // The body of a redirect says nothing, so it tells among other answers only.
        let has_body = failures.iter().any(|part| part.body.is_some());
        let path = format!("{path}.success");
        if success.header.is_some() || success.sets_cookie.is_some() {
            return;
        }
        let part = rule.success.as_ref().map(|success| &success.value);
        // What was given but is wrong has been reported; it would have told a success apart.
        if part.is_some_and(|part| part.header.is_some() || part.cookie.is_some()) {
            return;
        }
        if let Some(location) = part.and_then(|part| part.location.as_ref()) {
            if !has_failure {
                let message = "whoever chooses where a login leads (`?next=…`) decides whether it counts as one";
                self.warning(
                    at(location),
                    &format!("{path}.location"),
                    Flaw::new(message, FAILING),
                );
            }
            return;
        }
        let status = part.map_or(&[][..], |part| items(&part.status));
        if has_failure {
            return;
        }
        if status.is_empty() && has_body {
            let message = "whatever lacks the text of `failure` counts as a login, a redirect to the form too";
            self.warning(place, &path, Flaw::new(message, NAMING));
            return;
        }
        if status.is_empty() || rule.request.is_none() {
            let message = "a failed attempt meets it as well: any answer would count as a login";
            self.error(place, &path, Flaw::new(message, TELLING));
            return;
        }
        let path = format!("{path}.status");
        for status in status {
            let rendered = match status.value {
                200 if has_body => continue,
                200 => "login forms are rendered with 200 too, after a failed attempt",
                300..=399 => "failed attempts are often answered with a redirect too",
                _ => continue,
            };
            self.warning(at(status), &path, Flaw::new(rendered, TELLING));
        }
    }

    /// Any of them makes an answer a failed attempt.
    fn failures(&mut self, rule: &Login, path: &str, exact: bool) -> Vec<FailurePart> {
        let Some(given) = &rule.failure else { return Vec::new() };
        let parts = given.value.0.iter();
        parts
            .map(|failure| {
                let part = FailurePart {
                    status: self.statuses(&failure.status, path),
                    location: self.location(&failure.location, path, exact),
                    body: self.body(rule, failure, &format!("{path}.body")),
                };
                if part.is_empty() && !is_given(failure) {
                    let message = "every answer meets it: no login would ever succeed";
                    let remedy = "give `status`, `location` or `body`";
                    self.error(at(given), path, Flaw::new(message, remedy));
                }
                part
            })
            .collect()
    }

    fn body(&mut self, rule: &Login, failure: &Failure, path: &str) -> Option<BodyPattern> {
        let given = failure.body.as_ref()?;
        if rule.request.is_none() {
            self.error(
                at(given),
                path,
                Flaw::new(
                    "without `request` every answer would be held back until its body was read",
                    "add the request that logs in, such as `request: POST /login`",
                ),
            );
        }
        self.optional(&failure.body, path, body::pattern)
    }

    pub(super) fn logout(&mut self, given: &Spanned<Logout>, path: &str) -> Option<LogoutRule> {
        let rule = &given.value;
        let exact = on(&rule.exact);
        let success = self.success(&rule.success, &format!("{path}.success"), exact);
        let request = self.required(
            &rule.request,
            at(given),
            &format!("{path}.request"),
            "POST /logout",
            |text| path::request(text, exact),
        );
        let clear_site_data =
            self.clear_site_data(&rule.clear_site_data, &format!("{path}.clear_site_data"));
        let (method, path) = request?;
        Some(LogoutRule { request: RequestPart { method, path }, success, clear_site_data })
    }

    fn clear_site_data(&mut self, given: &List<String>, path: &str) -> Vec<SiteData> {
        const KINDS: [(&str, SiteData); 3] = [
            ("cache", SiteData::Cache),
            ("storage", SiteData::Storage),
            ("cookies", SiteData::Cookies),
        ];
        let mut cleared = Vec::new();
        for (index, given) in items(given).iter().enumerate() {
            let path = format!("{path}[{index}]");
            match choice(&given.value, "data that a browser clears", &KINDS) {
                Err(flaw) => self.error(at(given), &path, flaw),
                Ok(data) if cleared.contains(&data) => {
                    self.warning(at(given), &path, Flaw::new("is listed twice", "keep one"));
                }
                Ok(data) => {
                    if data == SiteData::Cookies {
                        self.warning(at(given), &path, Flaw::new(
                            "browsers then delete the cookies of the whole registrable domain, other hosts' as well",
                            "leave it out: the ticket is expired without it",
                        ));
                    }
                    cleared.push(data);
                }
            }
        }
        cleared
    }

    fn success(&mut self, given: &Given<Success>, path: &str, exact: bool) -> SuccessPart {
        let Some(success) = given.as_ref().map(|given| &given.value) else {
            return SuccessPart::default();
        };
        SuccessPart {
            status: self.statuses(&success.status, path),
            location: self.location(&success.location, path, exact),
            header: self.optional(&success.header, &format!("{path}.header"), name::header),
            sets_cookie: self.optional(&success.cookie, &format!("{path}.cookie"), name::cookie),
        }
    }

    fn statuses(&mut self, given: &List<u16>, path: &str) -> Vec<u16> {
        let mut codes = Vec::new();
        for (index, status) in items(given).iter().enumerate() {
            if (200..=599).contains(&status.value) {
                codes.push(status.value);
            } else {
                let flaw = Flaw::new(
                    format!("`{}` is no status of a final answer", status.value),
                    "from 200 to 599",
                );
                self.error(at(status), &format!("{path}.status[{index}]"), flaw);
            }
        }
        codes
    }

    fn location(&mut self, given: &Text, path: &str, exact: bool) -> Option<PathRule> {
        self.optional(given, &format!("{path}.location"), |text| {
            location(text).map(|path| PathRule { path, exact })
        })
    }
}

/// Whether a failure part has anything in it, be it wrong.
fn is_given(failure: &Failure) -> bool {
    failure.status.is_some() || failure.location.is_some() || failure.body.is_some()
}

/// `Location` is compared by its path alone.
fn location(text: &str) -> Parsed<String> {
    if text.contains("://") {
        return Err(Flaw::new(
            format!("`{text}` is a URL"),
            "only the path of `Location` is compared: write the path",
        ));
    }
    path::normal(text)
}

#[cfg(test)]
mod tests {
    use crate::config::environment::testing::Given as Files;

    /// What `check` says of a login rule, each problem as key and message.
    #[track_caller]
    fn check(rule: &str, expected: &[(&str, &str)]) {
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:0', tls: {{ self_signed: true }} }}]\n\
             upstreams: {{ shop: {{ endpoints: [{{ address: '127.0.0.1:1' }}] }} }}\n\
             servers: [{{ routes: [{{ path: /, upstream: shop, session: shop }}] }}]\n\
             sessions: {{ shop: {{ app_cookies: [sid], login: [{{ {rule} }}] }} }}\n"
        );
        let found = match crate::config::parse(&text, "c.yaml", &Files::default().environment()) {
            Ok(config) => config.warnings,
            Err(found) => found,
        };
        let found: Vec<_> = found
            .iter()
            .filter_map(|found| {
                let key = found.path.strip_prefix("sessions.shop.login[0].")?;
                Some((key.to_owned(), found.message.clone()))
            })
            .collect();
        let found: Vec<_> =
            found.iter().map(|(key, message)| (key.as_str(), message.as_str())).collect();
        assert_eq!(found, expected, "{rule}");
    }

    const POST: &str = "request: POST /login";
    const CHOSEN: (&str, &str) = (
        "success.location",
        "whoever chooses where a login leads (`?next=…`) decides whether it counts as one",
    );

    /// PROTOCOL 17: what tells a login from a failed attempt.
    #[test]
    fn a_success_is_told_by_more_than_where_it_leads() {
        let any =
            ("success", "a failed attempt meets it as well: any answer would count as a login");
        let status = ("success.status", "failed attempts are often answered with a redirect too");
        check(&format!("{POST}, success: {{ location: /account }}"), &[CHOSEN]);
        check(&format!("{POST}, success: {{ status: [302], location: /account }}"), &[CHOSEN]);
        check(&format!("{POST}, success: {{ status: [302] }}"), &[status]);
        check(POST, &[any]);
        check(&format!("{POST}, success: {{ location: /account, cookie: user }}"), &[]);
        for failure in [
            "{ location: /login }",
            "{ status: [200, 401] }",
            "[{ status: [401] }, { location: /login }]",
        ] {
            for success in ["{ status: [302] }", "{ location: /account }", "{ status: [200] }"] {
                check(&format!("{POST}, success: {success}, failure: {failure}"), &[]);
            }
            check(&format!("{POST}, failure: {failure}"), &[]);
        }
    }

    /// The body of a redirect says nothing: a pattern tells among answers with 200.
    #[test]
    fn a_text_in_the_body_tells_a_failure_that_is_no_redirect() {
        let failure = "failure: { body: '(?i)wrong password' }";
        let with = |success: &str| format!("{POST}, success: {success}, {failure}");
        let lacking = (
            "success",
            "whatever lacks the text of `failure` counts as a login, a redirect to the form too",
        );
        let status = ("success.status", "failed attempts are often answered with a redirect too");
        check(&with("{ status: [200] }"), &[]);
        check(&with("{ status: [200], cookie: user }"), &[]);
        check(&with("{ status: [302] }"), &[status]);
        check(&with("{ location: /account }"), &[CHOSEN]);
        check(&format!("{POST}, {failure}"), &[lacking]);
        let both = "failure: [{ location: /login }, { status: [200], body: wrong }]";
        for success in ["{ status: [200, 302] }", "{ location: /account }"] {
            check(&format!("{POST}, success: {success}, {both}"), &[]);
        }
    }

    #[test]
    fn a_text_that_cannot_be_looked_for_is_reported() {
        let with = |body: &str| {
            format!("{POST}, success: {{ status: [200] }}, failure: {{ body: {body} }}")
        };
        check(
            &with("'wrong (name'"),
            &[("failure.body", "`wrong (name` is no pattern: unclosed group")],
        );
        check(
            &with("''"),
            &[("failure.body", "`` is found in every body: no login would ever succeed")],
        );
        check(
            "success: { header: X-Login }, failure: { body: wrong }",
            &[
                (
                    "request",
                    "without it the login is known only from the answer: until then the old ticket stays good",
                ),
                (
                    "failure.body",
                    "without `request` every answer would be held back until its body was read",
                ),
            ],
        );
    }

    #[test]
    fn a_failure_that_every_answer_is_or_none_is_reported() {
        let success = format!("{POST}, success: {{ status: [302] }}");
        check(
            &format!("{success}, failure: {{}}"),
            &[("failure", "every answer meets it: no login would ever succeed")],
        );
        check(
            &format!("{success}, failure: {{ status: [99] }}"),
            &[("failure.status[0]", "`99` is no status of a final answer")],
        );
        check(
            &format!("{success}, failure: {{ location: 'https://a.example/' }}"),
            &[("failure.location", "`https://a.example/` is a URL")],
        );
    }

    /// PROTOCOL 24: what a rule for GET lets through is said.
    #[test]
    fn a_login_by_get_is_said_to_be_open_to_links() {
        let open = (
            "request",
            "other sites may lead a visitor to it (a page by GET, as the code flow of OpenID Connect does); what they post, frame or load is refused",
        );
        for (request, expected) in [
            ("GET /callback", &[open][..]),
            ("/callback", &[open]),
            ("POST /callback", &[]),
            ("GET /callback, cross_site: allow", &[]),
        ] {
            check(&format!("request: {request}, success: {{ cookie: user }}"), expected);
        }
    }

    /// PROTOCOL 19: what is given up is said.
    #[test]
    fn rotating_only_with_a_success_is_said_to_be_dangerous() {
        let success = "success: { header: X-Login }";
        let given_up = "a login whose answer is not taken for a success keeps its ticket: whoever has a copy of that is logged in too";
        check(&format!("{POST}, {success}, rotate: always"), &[]);
        check(&format!("{POST}, {success}, rotate: success"), &[("rotate", given_up)]);
        check(
            &format!("{POST}, {success}, rotate: never"),
            &[("rotate", "`never` is no kind of answer")],
        );
    }
}
