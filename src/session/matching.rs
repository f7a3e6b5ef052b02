//! Which requests are logins and logouts, and which answers a success (PROTOCOL.md 17, 21, 24).

use http::{HeaderName, Method};

use crate::routing::path::{NormalPath, PathRule};
use crate::session::policy::{
    CrossSite, FailurePart, LoginRule, LogoutRule, Policy, RequestPart, Rotate, SiteData,
    SuccessPart,
};
use crate::session::subject::Subject;
use crate::session::subject::body::Copied;
use crate::session::subject::source::{Format, Source};
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// What a success part looks at.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub status: u16,
    pub fields: &'a Fields,
    /// The names of the cookies that it sets (not deletes).
    pub cookies: &'a [&'a [u8]],
    /// The beginning of its body, where that was asked for and can be read.
    pub body: Option<&'a [u8]>,
}

/// Whether a request is an attempt to log in, and what becomes of its session (rule 19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attempt {
    /// No login rule's request part fits.
    #[default]
    None,
    /// Only a success moves it.
    Stays,
    /// Every answer moves it.
    Moves,
}

impl RequestPart {
    /// Whether a request fits.
    pub fn matches(&self, method: &Method, path: &NormalPath) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method) && self.path.matches(path)
    }
}

impl SuccessPart {
    /// Whether an answer to a request for `path` fits.
    pub fn matches(&self, path: &NormalPath, answer: Head<'_>) -> bool {
        let Head { status, fields, cookies, body: _ } = answer;
        (self.status.is_empty() || self.status.contains(&status))
            && self.location.as_ref().is_none_or(|rule| leads_to(rule, path, answer))
            && self.header.as_ref().is_none_or(|(name, wanted)| {
                fields
                    .all_named(name.as_str().as_bytes())
                    .any(|value| wanted.as_ref().is_none_or(|wanted| value == wanted.as_bytes()))
            })
            && self.sets_cookie.as_ref().is_none_or(|name| cookies.contains(&name.as_bytes()))
    }

    /// Whether it demands nothing.
    pub fn is_empty(&self) -> bool {
        let Self { status, location, header, sets_cookie } = self;
        status.is_empty() && location.is_none() && header.is_none() && sets_cookie.is_none()
    }
}

impl FailurePart {
    /// Whether it demands nothing.
    pub fn is_empty(&self) -> bool {
        let Self { status, location, body } = self;
        status.is_empty() && location.is_none() && body.is_none()
    }

    /// Whether an answer to a request for `path` fits. A body that cannot be read may have the text.
    fn matches(&self, path: &NormalPath, answer: Head<'_>) -> bool {
        self.matches_head(path, answer)
            && self
                .body
                .as_ref()
                .is_none_or(|pattern| answer.body.is_none_or(|body| pattern.is_in(body)))
    }

    fn matches_head(&self, path: &NormalPath, answer: Head<'_>) -> bool {
        (self.status.is_empty() || self.status.contains(&answer.status))
            && self.location.as_ref().is_none_or(|rule| leads_to(rule, path, answer))
    }
}

fn leads_to(rule: &PathRule, path: &NormalPath, answer: Head<'_>) -> bool {
    let location = answer.fields.get(Name::Location);
    location.is_some_and(|location| rule.matches_location_from(location, path))
}

impl LoginRule {
    /// Whether the answer to a request for `path` is a success: its success part holds, and no
    /// failure part does. Where nothing is asked of a success, an error is none.
    fn succeeds(&self, path: &NormalPath, answer: Head<'_>) -> bool {
        self.success.matches(path, answer)
            && (!self.success.is_empty() || answer.status < 400)
            && !self.failure.iter().any(|part| part.matches(path, answer))
    }

    /// Whether the answer to a request may complete it: its request part fits, or it has none
    /// (rule 21).
    fn may_begin(&self, method: &Method, path: &NormalPath) -> bool {
        self.request.as_ref().is_none_or(|request| request.matches(method, path))
    }
}

impl Policy {
    /// Fields of an answer that are for us alone.
    pub fn subject_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.login.iter().filter_map(|rule| match &rule.subject {
            Some(Source::Header(name)) => Some(name),
            Some(Source::Form(_) | Source::Json(_)) | None => None,
        })
    }

    /// The login rules whose request part fits.
    fn logins<'a>(
        &'a self,
        method: &'a Method,
        path: &'a NormalPath,
    ) -> impl Iterator<Item = &'a LoginRule> {
        self.login.iter().filter(move |rule| {
            rule.request.as_ref().is_some_and(|request| request.matches(method, path))
        })
    }

    /// Whether a request is an attempt to log in. Of several rules that fit the strictest counts.
    pub fn attempt(&self, method: &Method, path: &NormalPath) -> Attempt {
        self.logins(method, path).fold(Attempt::None, |attempt, rule| match rule.rotate {
            Rotate::Always => Attempt::Moves,
            Rotate::OnSuccess if attempt == Attempt::None => Attempt::Stays,
            Rotate::OnSuccess => attempt,
        })
    }

    /// Whether a failure part looks at the body of the answer to a request.
    pub fn looks_at_body(&self, method: &Method, path: &NormalPath) -> bool {
        self.body_parts(method, path).next().is_some()
    }

    /// Whether it depends on the body what such an answer is.
    pub fn needs_body(&self, method: &Method, path: &NormalPath, answer: Head<'_>) -> bool {
        self.body_parts(method, path).any(|part| part.matches_head(path, answer))
    }

    fn body_parts<'a>(
        &'a self,
        method: &'a Method,
        path: &'a NormalPath,
    ) -> impl Iterator<Item = &'a FailurePart> {
        self.logins(method, path).flat_map(|rule| &rule.failure).filter(|part| part.body.is_some())
    }

    /// Whether every login rule that fits refuses cross-site requests (rule 24).
    pub fn refuses_cross_site_login(&self, method: &Method, path: &NormalPath) -> bool {
        self.logins(method, path).all(|rule| rule.cross_site == CrossSite::Deny)
    }

    /// Whether a request matches a logout rule.
    pub fn is_logout(&self, method: &Method, path: &NormalPath) -> bool {
        self.logout.iter().any(|rule| rule.request.matches(method, path))
    }

    /// Whether a login may be told by its answer alone (rule 21). Where it may not, no rule is about
    /// the answer to a request that was neither login nor logout.
    pub fn has_login_by_answer(&self) -> bool {
        self.login.iter().any(|rule| rule.request.is_none())
    }

    /// Whether an answer completes a login: by a rule whose request part fits, or by one that has
    /// none (rule 21).
    pub fn has_logged_in(&self, method: &Method, path: &NormalPath, answer: Head<'_>) -> bool {
        self.login.iter().any(|rule| rule.may_begin(method, path) && rule.succeeds(path, answer))
    }

    /// The format of a request body that may say who logs in; `None` where nobody wants to know
    /// (rule 23).
    pub fn wants_body(&self, method: &Method, path: &NormalPath, head: &Fields) -> Option<Format> {
        let mut wanted = self
            .login
            .iter()
            .filter(|rule| rule.may_begin(method, path))
            .filter_map(|rule| rule.subject.as_ref()?.format())
            .peekable();
        wanted.peek()?;
        Format::of(head).filter(|format| wanted.any(|wanted| wanted == *format))
    }

    /// Who logged in, by the first login rule that holds for the answer and says so (rule 23).
    pub fn subject_of(
        &self,
        method: &Method,
        path: &NormalPath,
        answer: Head<'_>,
        body: Option<&Copied>,
    ) -> Option<Subject> {
        let holds = |rule: &&LoginRule| rule.may_begin(method, path) && rule.succeeds(path, answer);
        self.login.iter().filter(holds).find_map(|rule| match rule.subject.as_ref()? {
            Source::Header(name) => {
                let mut values = answer.fields.all_named(name.as_str().as_bytes());
                let (value, None) = (values.next()?, values.next()) else { return None };
                Subject::confirmed(std::str::from_utf8(value).ok()?)
            }
            source => Subject::claimed(&body?.find(source)?),
        })
    }

    /// Whether an answer completes a logout: where a rule demands nothing, any status below 400.
    pub fn has_logged_out(&self, method: &Method, path: &NormalPath, answer: Head<'_>) -> bool {
        self.logouts(method, path, answer).next().is_some()
    }

    /// What the browser is asked to forget with this answer; empty where it completes no logout.
    pub fn clears(&self, method: &Method, path: &NormalPath, answer: Head<'_>) -> Vec<SiteData> {
        let mut cleared = Vec::new();
        for data in self.logouts(method, path, answer).flat_map(|rule| &rule.clear_site_data) {
            if !cleared.contains(data) {
                cleared.push(*data);
            }
        }
        cleared
    }

    /// The logout rules that an answer completes.
    fn logouts<'a>(
        &'a self,
        method: &'a Method,
        path: &'a NormalPath,
        answer: Head<'a>,
    ) -> impl Iterator<Item = &'a LogoutRule> {
        self.logout.iter().filter(move |rule| {
            rule.request.matches(method, path)
                && rule.success.matches(path, answer)
                && (!rule.success.is_empty() || answer.status < 400)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::policy;

    fn path(path: &str) -> NormalPath {
        NormalPath::from_target(path.as_bytes()).expect("a good path")
    }

    /// PROTOCOL 17: matching too much costs a spare rotation, too little lets somebody in.
    #[test]
    fn logins_are_recognised_in_every_spelling() {
        let policy = policy();
        for spelling in ["/login", "/LOGIN", "/login/", "//login", "/%6cogin", "/x/../Login/?a=b"] {
            assert_eq!(
                policy.attempt(&Method::POST, &path(spelling)),
                Attempt::Moves,
                "{spelling}"
            );
            assert_eq!(policy.attempt(&Method::GET, &path(spelling)), Attempt::None, "{spelling}");
        }
        for other in ["/", "/login/x", "/loginx", "/x/login"] {
            assert_eq!(policy.attempt(&Method::POST, &path(other)), Attempt::None, "{other}");
        }
    }

    #[test]
    fn a_success_meets_every_condition() {
        let policy = policy();
        let login = path("/login");
        let check = |status, location: Option<&'static str>, expected: bool| {
            let fields: Vec<_> = location.iter().map(|location| ("location", *location)).collect();
            let answer = Head { status, fields: &Fields::of(&fields), cookies: &[], body: None };
            let got = policy.has_logged_in(&Method::POST, &login, answer);
            assert_eq!(got, expected, "{status} {location:?}");
        };
        check(302, Some("/account/"), true);
        check(302, Some("https://shop.example.com/account?x=1"), true);
        check(302, Some("/login?failed"), false);
        check(302, None, false);
        check(200, Some("/account/"), false);
    }

    /// A failure part overrules the success part, and does alone.
    #[test]
    fn a_failure_is_no_success() {
        let mut policy = policy();
        let login = path("/login");
        let to_login = FailurePart {
            status: vec![302, 303],
            location: Some(PathRule::new("/login", false).expect("a good path")),
            body: None,
        };
        let refused = FailurePart { status: vec![401], ..FailurePart::default() };
        policy.login[0].failure = vec![to_login, refused];
        for success in
            [SuccessPart { status: vec![302], ..SuccessPart::default() }, SuccessPart::default()]
        {
            let is_any = success.is_empty();
            policy.login[0].success = success;
            let check = |status, location: &'static str, expected: bool| {
                let fields = Fields::of(&[("location", location)]);
                let answer = Head { status, fields: &fields, cookies: &[], body: None };
                let got = policy.has_logged_in(&Method::POST, &login, answer);
                assert_eq!(got, expected, "{status} {location}, any: {is_any}");
            };
            check(302, "/cart", true);
            check(302, "https://shop.example.com/account?x=1", true);
            check(302, "/login?failed", false);
            check(302, "../Login/", false);
            check(401, "/", false);
            check(200, "/", is_any);
            check(403, "/", false);
            check(500, "/", false);
        }
    }

    /// PROTOCOL 19: of two rules that fit the stricter one counts.
    #[test]
    fn an_attempt_moves_the_session_unless_every_rule_says_otherwise() {
        let mut policy = policy();
        let check = |policy: &Policy, expected| {
            assert_eq!(policy.attempt(&Method::POST, &path("/login")), expected);
        };
        check(&policy, Attempt::Moves);
        policy.login[0].rotate = Rotate::OnSuccess;
        check(&policy, Attempt::Stays);
        let strict = LoginRule { rotate: Rotate::Always, ..policy.login[0].clone() };
        policy.login.push(strict);
        check(&policy, Attempt::Moves);
        policy.login.swap(0, 1);
        check(&policy, Attempt::Moves);
    }

    #[test]
    fn a_success_may_be_a_header_or_a_cookie() {
        let fields = Fields::of(&[("X-Auth", "ok")]);
        let header = |value: Option<&str>| SuccessPart {
            header: Some((HeaderName::from_static("x-auth"), value.map(str::to_owned))),
            ..SuccessPart::default()
        };
        let at = path("/x");
        let answer = Head { status: 200, fields: &fields, cookies: &[], body: None };
        assert!(header(None).matches(&at, answer));
        assert!(header(Some("ok")).matches(&at, answer));
        assert!(!header(Some("no")).matches(&at, answer));
        assert!(!header(None).matches(&at, Head { fields: &Fields::new(), ..answer }));
        let cookie = SuccessPart { sets_cookie: Some("user".to_owned()), ..SuccessPart::default() };
        assert!(cookie.matches(&at, Head { cookies: &[b"other", b"user"], ..answer }));
        assert!(!cookie.matches(&at, Head { cookies: &[b"User"], ..answer }));
    }

    /// PROTOCOL 23: a form field or JSON member is a claim, a field of the answer is confirmed; only
    /// of a login that succeeded, and only what is there once.
    #[test]
    fn a_login_says_who_it_is() {
        let with = |source| {
            let mut policy = policy();
            policy.login[0].subject = Some(source);
            policy
        };
        let found = |policy: &Policy, body: &[u8], fields: &[(&str, &str)]| {
            let fields = [&[("location", "/account/")], fields].concat();
            let mut copied = Copied::new(Format::Form);
            copied.pass(body, true);
            let answer =
                Head { status: 302, fields: &Fields::of(&fields), cookies: &[], body: None };
            policy.subject_of(&Method::POST, &path("/login"), answer, Some(&copied))
        };
        let form = with(Source::Form("user".to_owned()));
        assert_eq!(found(&form, b"user=Alice", &[]), Subject::claimed("Alice"));
        assert_eq!(found(&form, b"user=alice&user=bob", &[]), None);
        let header = with(Source::Header(HeaderName::from_static("x-user")));
        assert_eq!(found(&header, b"", &[("x-user", "Alice")]), Subject::confirmed("Alice"));
        assert_eq!(found(&header, b"", &[("X-User", "Alice")]), Subject::confirmed("Alice"));
        assert_eq!(found(&header, b"", &[("x-user", "a"), ("X-User", "b")]), None);
        assert_eq!(found(&header, b"", &[]), None);
        assert_eq!(found(&policy(), b"user=alice", &[("x-user", "alice")]), None);
        let mut fields = Fields::of(&[("location", "/account/")]);
        fields.push(b"x-user", b"al\xffice").expect("it is writable");
        let answer = Head { status: 302, fields: &fields, cookies: &[], body: None };
        let nobody = header.subject_of(&Method::POST, &path("/login"), answer, None);
        assert_eq!(nobody, None, "it is not UTF-8");
        let failed = Head { status: 200, fields: &Fields::new(), cookies: &[], body: None };
        let mut copied = Copied::new(Format::Form);
        copied.pass(b"user=alice", true);
        let nobody = form.subject_of(&Method::POST, &path("/login"), failed, Some(&copied));
        assert_eq!(nobody, None, "the login failed");
    }

    #[test]
    fn only_what_a_rule_looks_for_is_copied() {
        let mut policy = policy();
        let login = path("/login");
        let head = Fields::of(&[("content-type", "application/x-www-form-urlencoded")]);
        assert_eq!(policy.wants_body(&Method::POST, &login, &head), None);
        policy.login[0].subject = Some(Source::Form("user".to_owned()));
        let wanted = policy.wants_body(&Method::POST, &login, &head);
        assert_eq!(wanted, Some(Format::Form));
        assert_eq!(policy.wants_body(&Method::POST, &login, &Fields::new()), None);
        assert_eq!(policy.wants_body(&Method::POST, &path("/upload"), &head), None);
        policy.login[0].subject = Some(Source::Json(vec!["user".to_owned()]));
        assert_eq!(policy.wants_body(&Method::POST, &login, &head), None);
    }

    #[test]
    fn a_logout_succeeds_with_any_status_below_400() {
        let policy = policy();
        let logout = path("/logout");
        let check = |status, expected| {
            let answer = Head { status, fields: &Fields::new(), cookies: &[], body: None };
            assert_eq!(policy.has_logged_out(&Method::POST, &logout, answer), expected);
            let cleared = if expected { vec![SiteData::Cache, SiteData::Storage] } else { vec![] };
            assert_eq!(policy.clears(&Method::POST, &logout, answer), cleared);
        };
        check(200, true);
        check(302, true);
        check(403, false);
        check(500, false);
    }
}
