//! `rewrite`: steps that are run before a route is looked for, and in the route that was found.

use std::sync::Arc;

use http::Method;

use crate::config::schema::{File, List, Route, ShortOr, Step as Given, key};
use crate::config::value::Flaw;
use crate::proxy::rewriting::Rewriting;
use crate::proxy::settings::{self, Excepted, Target};
use crate::rewrite::{BadStep, Script, Step};
use crate::session::policy::Policy;

use super::Checker;
use super::cursor::{At, RouteAt};

const STEPS: &str = "write `set: $name value`, `if: CONDITION` with `then`, `rewrite: PATTERN REPLACEMENT FLAG`, \
                     `return: 301 URL`, or `break`";

/// What a route's conditions may change.
pub(super) struct Inside<'r, 'f> {
    pub file: &'f File,
    pub route: &'r RouteAt<'f>,
    /// The route without its steps.
    pub base: &'r settings::Route,
    pub sessions: &'r [Arc<Policy>],
    pub made: Vec<Arc<settings::Route>>,
}

impl Checker<'_> {
    /// The steps of a server or, with `inside`, of a route.
    pub(super) fn steps<'f>(
        &mut self,
        list: Option<At<'f, Vec<serde_saphyr::Spanned<ShortOr<Given>>>>>,
        inside: Option<&mut Inside<'_, 'f>>,
    ) -> Script {
        let mut inside = inside;
        let mut steps = Vec::new();
        for at in list.iter().flat_map(At::items) {
            steps.extend(self.step(&at, inside.as_deref_mut()));
        }
        Script::new(steps)
    }

    fn step<'f>(
        &mut self,
        at: &At<'f, ShortOr<Given>>,
        inside: Option<&mut Inside<'_, 'f>>,
    ) -> Option<Step> {
        let given = match at.value {
            ShortOr::Short(word) if word == "break" => return Some(Step::stop()),
            ShortOr::Short(word) => {
                self.error_at(at, Flaw::new(format!("`{word}` is no step"), STEPS));
                return None;
            }
            ShortOr::Long(given) => given,
        };
        let keys = [&given.set, &given.rewrite, &given.answer, &given.condition];
        if keys.iter().filter(|key| key.is_some()).count() != 1 {
            self.error_at(at, Flaw::new("is not one step", STEPS));
            return None;
        }
        if given.condition.is_none() && (given.then.is_some() || given.with.is_some()) {
            let flaw =
                Flaw::new("`then` and `with` belong to a condition", "add `if: $name = value`");
            self.error_at(at, flaw);
        }
        let at = At { value: given, path: at.path.clone(), place: at.place };
        if let Some(set) = at.key("set", &given.set) {
            let (name, value) =
                set.value.split_once(char::is_whitespace).unwrap_or((set.value, ""));
            return self.compiled(&set, |checker| Step::set(name, value, &mut checker.registry));
        }
        if let Some(rule) = at.key("rewrite", &given.rewrite) {
            return self
                .compiled(&rule, |checker| Step::rewrite(rule.value, &mut checker.registry));
        }
        if let Some(answer) = at.key("return", &given.answer) {
            return self
                .compiled(&answer, |checker| Step::answer(answer.value, &mut checker.registry));
        }
        let condition = at.key("if", &given.condition)?;
        self.condition(&at, &condition, inside)
    }

    fn condition<'f>(
        &mut self,
        at: &At<'f, Given>,
        condition: &At<'f, String>,
        mut inside: Option<&mut Inside<'_, 'f>>,
    ) -> Option<Step> {
        let with = at.key("with", &at.value.with);
        let settings = match (&mut inside, &with) {
            (Some(inside), with) => Some(self.inside(inside, with.as_ref())),
            (None, None) => None,
            (None, Some(with)) => {
                let help = "no route was found yet: put the condition into a route's `rewrite`";
                self.error_at(with, Flaw::new("has nothing that it could change", help));
                None
            }
        };
        let then = at.key("then", &at.value.then);
        let then = self.steps(then, inside);
        self.compiled(condition, |checker| {
            Step::when(condition.value, settings, then, &mut checker.registry)
        })
    }

    /// What counts in a route while a condition holds: an anonymous route, which has from the one around
    /// it what it does not say itself. Its index.
    fn inside<'f>(&mut self, inside: &mut Inside<'_, 'f>, with: Option<&At<'f, Route>>) -> usize {
        let made = match with {
            // As in nginx no file is looked for where a condition holds.
            None => settings::Route { try_files: None, ..inside.base.clone() },
            Some(with) => {
                let with = At { value: with.value, path: with.path.clone(), place: with.place };
                let route = inside.route.inside(with);
                self.guards_stay(&route, "condition");
                if let Some(answer) = route.at.key("return", &route.at.value.r#return) {
                    let flaw = Flaw::new("stands in `with`", "put it into `then`");
                    self.error_at(&answer, flaw);
                }
                let target = self.target_inside(inside.file, &route, inside.base);
                let base = inside.base;
                let lies = self.lies(&route, base.lies.as_ref(), &base.path);
                self.settings(
                    &route,
                    (base.path.clone(), lies),
                    target,
                    inside.sessions,
                    inside.file,
                )
                .within(inside.base)
            }
        };
        inside.made.push(Arc::new(made));
        inside.made.len() - 1
    }

    /// A condition changes what is done, not who may ask for it.
    fn guards_stay(&mut self, route: &RouteAt<'_>, what: &str) {
        let given = route.at.value;
        let lists = |list: &List<ShortOr<Given>>| list.is_some();
        let own = [
            ("path", given.path.is_some()),
            ("exact", given.exact.is_some()),
            ("internal", given.internal.is_some()),
            ("rewrite", lists(&given.rewrite)),
            ("limit_except", given.limit_except.is_some()),
            ("routes", given.routes.is_some()),
            ("access", given.access.is_some()),
            ("auth_basic", given.auth_basic.is_some()),
            ("auth_request", given.auth_request.is_some()),
            ("satisfy", given.satisfy.is_some()),
            ("session", given.session.is_some()),
            ("session_header", given.session_header.is_some()),
            ("require", given.require.is_some()),
            ("denied", given.denied.is_some()),
            ("cross_site", given.cross_site.is_some()),
            ("on_store_down", given.on_store_down.is_some()),
            ("stream", given.stream.is_some()),
            ("body_bytes_max", given.body_bytes_max.is_some()),
        ];
        for (name, _) in own.into_iter().filter(|(_, is_given)| *is_given) {
            let flaw = Flaw::new(
                format!("has `{name}`, which no {what} can change"),
                "say it in the route itself, or in another one that `rewrite: … last` leads to",
            );
            self.error_at(&route.at, flaw);
        }
    }

    fn target_inside(
        &mut self,
        file: &File,
        route: &RouteAt<'_>,
        base: &settings::Route,
    ) -> Target {
        if let Some(url) = route.at.key("proxy_pass", &route.at.value.proxy_pass) {
            return self.passed(&url, route).unwrap_or(Target::Nothing);
        }
        if let Some(upstream) = route.at.key("upstream", &route.at.value.upstream) {
            return self.led_to(file, &upstream).unwrap_or(Target::Nothing);
        }
        match &base.target {
            Target::Files(_) => Target::Files(Arc::new(self.files(route))),
            other => other.clone(),
        }
    }

    /// What counts for other methods than those of `limit_except`: no steps, and what it says itself.
    pub(super) fn excepted<'f>(
        &mut self,
        file: &'f File,
        route: &RouteAt<'f>,
        base: &settings::Route,
        sessions: &[Arc<Policy>],
    ) -> Option<Arc<Excepted>> {
        let at = route.at.key("limit_except", &route.at.value.limit_except)?;
        // What is no method has been reported.
        let given = at.value.methods.iter().flat_map(|list| &list.value);
        let mut methods: Vec<Method> =
            given.filter_map(|method| method.value.to_ascii_uppercase().parse().ok()).collect();
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        let Some(with) = at.key("with", &at.value.with) else {
            return Some(Arc::new(Excepted { methods, route: Arc::new(base.clone()) }));
        };
        let with = At { value: &**with.value, path: with.path.clone(), place: with.place };
        let inner = route.inside(with);
        self.guards_stay(&inner, "method");
        let target = self.target_inside(file, &inner, base);
        let path = base.path.clone();
        let lies = self.lies(&inner, base.lies.as_ref(), &path);
        let mut made = self.settings(&inner, (path, lies), target, sessions, file).within(base);
        made.rewriting = self.rewriting(file, &inner, &made, sessions);
        Some(Arc::new(Excepted { methods, route: Arc::new(made) }))
    }

    fn compiled(
        &mut self,
        at: &At<'_, String>,
        step: impl FnOnce(&mut Self) -> Result<Step, BadStep>,
    ) -> Option<Step> {
        let step = step(self);
        self.note_mentions(at);
        step.map_err(|bad| self.error_at(at, Flaw::new(bad.to_string(), help(&bad)))).ok()
    }

    /// The script of a route, with what its conditions change.
    pub(super) fn rewriting<'f>(
        &mut self,
        file: &'f File,
        route: &RouteAt<'f>,
        base: &settings::Route,
        sessions: &[Arc<Policy>],
    ) -> Option<Arc<Rewriting>> {
        let given = route.at.value;
        let mut inside = Inside { file, route, base, sessions, made: Vec::new() };
        let mut steps = self.steps(route.at.key("rewrite", &given.rewrite), Some(&mut inside));
        if let Some(answer) = route.at.key("return", &given.r#return) {
            self.returned(&answer).into_iter().for_each(|step| steps.push(step));
        }
        let logs = route.on(&key::rewrite_log);
        let made = inside.made;
        (!steps.is_empty()).then(|| Arc::new(Rewriting { script: steps, inside: made, logs }))
    }
}

fn help(bad: &BadStep) -> &'static str {
    match bad {
        BadStep::Condition => {
            "write `$name`, `$name = value`, `$name ~ pattern` or `-f path`: no more than one test"
        }
        BadStep::Rule | BadStep::Flag(_) => {
            "write `^/old/(.*)$ /new/$1`, and behind it `last`, `break`, `redirect` or `permanent`"
        }
        BadStep::Status(_) => {
            "write a status, what it says or where it leads behind it: `204`, `200 ok`, \
             `301 https://$host$request_uri`, or a URL alone"
        }
        BadStep::Name(_) | BadStep::Duplicate(_) => "write `$name value`, with a name of your own",
        BadStep::Template(_) => "write `$name` or `${name}`",
        BadStep::Matcher(_) => "write a regular expression, such as `^/old/(.*)$`",
    }
}
