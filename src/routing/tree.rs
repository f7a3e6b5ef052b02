//! The locations of a server, and which of them a path belongs to.
//!
//! The order is nginx's (`ngx_http_core_find_location`). Among its siblings `= /x` wins; else the
//! longest prefix is looked into, where the same happens again; then regular expressions are tried in
//! their order, unless the prefix was a `^~` or something inside it had the last word.

use super::fold;
use super::location::{Location, split};
use super::pattern::{Case, Pattern};

/// The locations of a server.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    top: Level,
    /// Those that count loosely too, the longest first.
    loose: Vec<Loose>,
}

#[derive(Clone, Debug)]
struct Node {
    location: Location,
    adds_slash: bool,
    /// From the top down to itself.
    chain: Box<[usize]>,
    inner: Level,
}

/// Siblings.
#[derive(Clone, Debug, Default)]
struct Level {
    /// Sorted.
    exact: Vec<(Box<[u8]>, usize)>,
    /// Sorted; each knows the longest other one that it begins with.
    prefixes: Vec<Prefix>,
    /// In the order of the file.
    regexes: Vec<usize>,
    adds_slashes: bool,
}

#[derive(Clone, Debug)]
struct Prefix {
    text: Box<[u8]>,
    node: usize,
    shorter: Option<usize>,
}

/// What one location makes of a path that workers may read otherwise.
#[derive(Clone, Debug)]
struct Loose {
    node: usize,
    tests: Vec<Test>,
}

#[derive(Clone, Debug)]
enum Test {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Regex(Pattern),
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Node(usize),
    /// To a location whose path ends in the slash that this one lacks.
    Slash(usize),
}

impl Found {
    pub(super) fn node(self) -> Option<usize> {
        match self {
            Self::Node(node) | Self::Slash(node) => Some(node),
            Self::Nothing => None,
        }
    }
}

/// What a level says, where the levels around it may say more.
enum Search {
    Found(Found),
    /// Regular expressions outside may win.
    Prefix(usize),
    Nothing,
}

/// A location on its way into the tree.
pub(super) struct Entry {
    pub location: Location,
    /// The index of the entry that it lies in; a smaller one.
    pub outer: Option<usize>,
    pub adds_slash: bool,
    /// Whether it counts loosely too.
    pub loose: bool,
    /// As it was written, for patterns that are compared without regard to case.
    pub written: String,
}

impl Tree {
    /// Puts locations together; their indices stay.
    /// Those that are there twice come beside it.
    pub(super) fn build(entries: Vec<Entry>) -> (Self, Vec<Twice>) {
        let mut twice = Vec::new();
        let mut tree = Self { nodes: Vec::new(), top: Level::default(), loose: Vec::new() };
        let mut written = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let Entry { location, outer, adds_slash, loose, written: text } = entry;
            let level = match outer {
                Some(outer) => &mut tree.nodes[outer].inner,
                None => &mut tree.top,
            };
            if !level.insert(&location, index, adds_slash) {
                twice.push(Twice(index));
            }
            let above = outer.map_or(&[][..], |outer| &tree.nodes[outer].chain);
            let chain = [above, &[index]].concat().into();
            tree.nodes.push(Node { location, adds_slash, chain, inner: Level::default() });
            written.push((text, loose));
        }
        let levels = tree.nodes.iter_mut().map(|node| &mut node.inner);
        levels.chain([&mut tree.top]).for_each(Level::link);
        for index in (0..written.len()).filter(|index| written[*index].1) {
            tree.loose.push(Loose { node: index, tests: tree.tests(index, &written) });
        }
        let lengths: Vec<usize> = tree.nodes.iter().map(|node| node.location.length()).collect();
        tree.loose.sort_by_key(|loose| std::cmp::Reverse(lengths[loose.node]));
        (tree, twice)
    }

    /// What a path must pass to belong to a location loosely: its own test, and those of the patterns
    /// around it. A prefix begins with the prefixes around it.
    fn tests(&self, node: usize, written: &[(String, bool)]) -> Vec<Test> {
        let mut tests = Vec::new();
        for (step, index) in self.nodes[node].chain.iter().rev().copied().enumerate() {
            tests.extend(match &self.nodes[index].location {
                Location::Exact(text) => Some(Test::Exact(text.to_ascii_lowercase().into())),
                Location::Prefix { text, .. } => {
                    Some(Test::Prefix(text.to_ascii_lowercase().into()))
                }
                Location::Regex(pattern) => {
                    let (_, text) = split(&written[index].0);
                    let insensitive = Pattern::compile(text, Case::Insensitive);
                    Some(Test::Regex(insensitive.unwrap_or_else(|_| pattern.clone())))
                }
                Location::Named(_) => None,
            });
            // The first is its own.
            if step == 0 && !matches!(tests.first(), Some(Test::Regex(_))) {
                break;
            }
        }
        tests
    }

    /// Where a path leads by nginx's rules, spelled as it is.
    pub(super) fn find(&self, path: &[u8]) -> Found {
        match self.search(&self.top, path) {
            Search::Found(found) => found,
            Search::Prefix(node) => Found::Node(node),
            Search::Nothing => Found::Nothing,
        }
    }

    fn search(&self, level: &Level, path: &[u8]) -> Search {
        if let Some(node) = level.exact(path) {
            return Search::Found(Found::Node(node));
        }
        let mut found = Search::Nothing;
        let mut is_last = false;
        let prefix = level.longest(path);
        let is_whole = |node: usize| self.nodes[node].location.length() == path.len();
        if !prefix.is_some_and(is_whole)
            && let Some(node) = self.with_slash(level, path)
        {
            return Search::Found(Found::Slash(node));
        }
        if let Some(node) = prefix {
            let Node { location, inner, .. } = &self.nodes[node];
            is_last = matches!(location, Location::Prefix { is_last: true, .. });
            found = match self.search(inner, path) {
                Search::Found(found) => return Search::Found(found),
                Search::Prefix(inner) => Search::Prefix(inner),
                Search::Nothing => Search::Prefix(node),
            };
        }
        if is_last {
            return found;
        }
        let matching = level.regexes.iter().find(|node| self.nodes[**node].location.matches(path));
        match matching {
            None => found,
            Some(node) => match self.search(&self.nodes[*node].inner, path) {
                Search::Found(inner) => Search::Found(inner),
                Search::Prefix(inner) => Search::Found(Found::Node(inner)),
                Search::Nothing => Search::Found(Found::Node(*node)),
            },
        }
    }

    /// The locations, besides the one that was chosen, that a path belongs to as a lenient worker may
    /// read it: those that the chosen one would not win over if the path were spelled as they are. Where
    /// all readings agree on that one, what they meet as it is spelled was passed over. The longest first.
    pub(super) fn loosely<'a>(
        &'a self,
        path: &'a [u8],
        chosen: Option<usize>,
        is_agreed: bool,
    ) -> impl Iterator<Item = usize> + 'a {
        self.loose.iter().filter_map(move |loose| {
            let is_other = chosen != Some(loose.node)
                && !chosen.is_some_and(|chosen| self.wins(chosen, loose.node))
                && loose.tests.iter().all(|test| test.passes(path))
                // In this very spelling nginx passed over it.
                && !(is_agreed && self.is_met(loose.node, path));
            is_other.then_some(loose.node)
        })
    }

    /// Of the locations that all readings of a path meet, the one that wins.
    pub(super) fn common<'a>(
        &self,
        readings: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Option<usize> {
        let met = (0..self.nodes.len())
            .filter(|node| readings.clone().all(|reading| self.is_met(*node, reading)));
        met.reduce(|best, other| if self.wins(other, best) { other } else { best })
    }

    /// Whether two that both are no regular expressions are equally long.
    pub(super) fn is_as_long(&self, one: usize, other: usize) -> bool {
        self.nodes[one].location.length() == self.nodes[other].location.length()
    }

    /// The sibling whose path is this one and a slash, if it asks for it.
    fn with_slash(&self, level: &Level, path: &[u8]) -> Option<usize> {
        if !level.adds_slashes {
            return None;
        }
        let order = |text: &[u8]| text.iter().cmp(path.iter().chain(b"/"));
        let exact = level.exact.binary_search_by(|(text, _)| order(text)).ok();
        let prefix = level.prefixes.binary_search_by(|prefix| order(&prefix.text)).ok();
        let exact = exact.map(|at| level.exact[at].1);
        let prefix = prefix.map(|at| level.prefixes[at].node);
        [exact, prefix].into_iter().flatten().find(|node| self.nodes[*node].adds_slash)
    }

    /// Whether a path, spelled as it is, belongs to a location and to those around it.
    fn is_met(&self, node: usize, path: &[u8]) -> bool {
        self.nodes[node].chain.iter().all(|node| self.nodes[*node].location.matches(path))
    }

    /// Whether one location wins over another that is met as well.
    fn wins(&self, one: usize, other: usize) -> bool {
        let (chain, others) = (&self.nodes[one].chain, &self.nodes[other].chain);
        let mut apart = chain.iter().zip(others).skip_while(|(one, other)| one == other);
        let Some((above, beside)) = apart.next() else { return chain.len() > others.len() };
        let is_inside = *above != one;
        match (&self.nodes[*above].location, &self.nodes[*beside].location) {
            (Location::Exact(_), _) => true,
            (_, Location::Exact(_)) => false,
            (Location::Prefix { text, .. }, Location::Prefix { text: other, .. }) => {
                text.len() > other.len()
            }
            (Location::Prefix { is_last, .. }, Location::Regex(_)) => {
                let has_last_word =
                    !matches!(self.nodes[one].location, Location::Prefix { .. }) && is_inside;
                *is_last || has_last_word
            }
            (Location::Regex(_), Location::Regex(_)) => above < beside,
            (Location::Regex(_), Location::Prefix { is_last, .. }) => !is_last,
            (Location::Named(_), _) | (_, Location::Named(_)) => false,
        }
    }
}

/// The index of an entry whose path another one has already.
pub(super) struct Twice(pub usize);

impl Level {
    /// Says whether there is none of this path yet.
    fn insert(&mut self, location: &Location, node: usize, adds_slash: bool) -> bool {
        self.adds_slashes |= adds_slash;
        match location {
            Location::Exact(text) => {
                let is_new = self.exact.iter().all(|(other, _)| other != text);
                self.exact.push((text.clone(), node));
                is_new
            }
            Location::Prefix { text, .. } => {
                let is_new = self.prefixes.iter().all(|other| other.text != *text);
                self.prefixes.push(Prefix { text: text.clone(), node, shorter: None });
                is_new
            }
            Location::Regex(_) => {
                self.regexes.push(node);
                true
            }
            Location::Named(_) => true,
        }
    }

    fn link(&mut self) {
        self.exact.sort();
        self.prefixes.sort_by(|one, other| one.text.cmp(&other.text));
        for index in 1..self.prefixes.len() {
            let (before, rest) = self.prefixes.split_at_mut(index);
            let mut shorter = Some(index - 1);
            while let Some(candidate) =
                shorter.filter(|at| !rest[0].text.starts_with(&before[*at].text))
            {
                shorter = before[candidate].shorter;
            }
            rest[0].shorter = shorter;
        }
    }

    fn exact(&self, path: &[u8]) -> Option<usize> {
        let at = self.exact.binary_search_by(|(text, _)| (**text).cmp(path)).ok()?;
        Some(self.exact[at].1)
    }

    /// Whatever a path begins with is not behind it in the order, and all in between begin with it too.
    fn longest(&self, path: &[u8]) -> Option<usize> {
        let mut at = self.prefixes.partition_point(|prefix| *prefix.text <= *path).checked_sub(1);
        loop {
            let prefix = &self.prefixes[at?];
            if path.starts_with(&prefix.text) {
                return Some(prefix.node);
            }
            at = prefix.shorter;
        }
    }
}

impl Test {
    fn passes(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(text) => fold::equals(path, text),
            Self::Prefix(text) => fold::starts_with(path, text),
            Self::Regex(pattern) => {
                let mut folded = fold::folded(path);
                pattern.is_match(path) || pattern.is_match(&folded) || {
                    folded.push(b'/');
                    pattern.is_match(&folded)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tree of locations, each with the index of the one around it.
    fn tree(written: &[(&str, Option<usize>)]) -> Tree {
        let entries = written.iter().map(|(path, outer)| Entry {
            location: Location::parse(path).expect(path),
            outer: *outer,
            adds_slash: path.ends_with("/"),
            loose: false,
            written: (*path).to_owned(),
        });
        let (tree, twice) = Tree::build(entries.collect());
        assert!(twice.is_empty(), "{written:?}");
        tree
    }

    #[track_caller]
    fn check(written: &[(&str, Option<usize>)], cases: &[(&str, &str)]) {
        let tree = tree(written);
        for (path, expected) in cases {
            let found = match tree.find(path.as_bytes()) {
                Found::Nothing => String::new(),
                Found::Node(node) => written[node].0.to_owned(),
                Found::Slash(node) => format!("-> {}", written[node].0),
            };
            assert_eq!(found, *expected, "{path}");
        }
    }

    #[test]
    fn locations_are_chosen_in_nginx_order() {
        let locations = [
            ("/a", None),
            ("= /a", None),
            ("/abc", None),
            ("^~ /static", None),
            ("/static/deep", None),
            (r"~ \.php$", None),
            (r"~* \.PHP", None),
            ("~ ^/abc/x", None),
        ];
        check(
            &locations,
            &[
                ("/a", "= /a"),
                ("/ab", "/a"),
                ("/abcd", "/abc"),
                ("/abc.php", r"~ \.php$"),
                ("/abc.phpx", r"~* \.PHP"),
                ("/abc/x.php", r"~ \.php$"),
                ("/abc/x", "~ ^/abc/x"),
                ("/static.php", "^~ /static"),
                ("/static/deep.php", r"~ \.php$"),
                ("/b", ""),
                ("/A", ""),
            ],
        );
    }

    #[test]
    fn locations_inside_others_are_looked_for_in_the_same_way() {
        let locations = [
            ("/a/", None),
            ("/a/b/", Some(0)),
            (r"~ \.php$", Some(0)),
            ("= /a/exact.html", Some(0)),
            (r"~ \.(php|html)$", None),
            ("^~ /c/", None),
            ("/c/d/", Some(5)),
            (r"~ \.html$", Some(6)),
            ("~ ^/e", None),
            ("~ f$", Some(8)),
        ];
        check(
            &locations,
            &[
                ("/a/x", "/a/"),
                ("/a/b/x", "/a/b/"),
                ("/a/x.php", r"~ \.php$"),
                ("/a/x.html", r"~ \.(php|html)$"),
                ("/a/exact.html", "= /a/exact.html"),
                ("/a/b/x.html", r"~ \.(php|html)$"),
                ("/c/x.html", "^~ /c/"),
                ("/c/d/x.html", r"~ \.html$"),
                ("/c/d/x.php", "/c/d/"),
                ("/e", "~ ^/e"),
                ("/ef", "~ f$"),
            ],
        );
    }

    /// nginx 5.
    #[test]
    fn a_path_that_lacks_its_slash_leads_to_it() {
        let locations = [
            ("/", None),
            ("/a/", None),
            ("/a-b", None),
            ("/a.b/", None),
            ("/c/", None),
            ("/c", None),
        ];
        check(
            &locations,
            &[
                ("/a", "-> /a/"),
                ("/a-b", "/a-b"),
                ("/a.b", "-> /a.b/"),
                ("/a/", "/a/"),
                ("/c", "/c"),
                ("/c/x", "/c/"),
                ("/d", "/"),
            ],
        );
        let exact = [("= /a", None), ("/a/", None), ("= /b/", None), ("~ .", None)];
        check(&exact, &[("/a", "= /a"), ("/b", "-> = /b/"), ("/ax", "~ .")]);
        let inside = [("/a/", None), ("/a/b/", Some(0)), ("~ b$", None)];
        check(&inside, &[("/a/b", "-> /a/b/")]);
    }

    /// nginx's rules read aloud, for one level: what wins over all others that match.
    fn naive(locations: &[String], path: &str) -> Option<usize> {
        let parts: Vec<(&str, &str)> = locations.iter().map(|text| split(text)).collect();
        let exact = parts.iter().position(|(modifier, text)| *modifier == "=" && *text == path);
        if exact.is_some() {
            return exact;
        }
        let prefixes = parts.iter().enumerate();
        let prefixes = prefixes.filter(|(_, (modifier, text))| {
            matches!(*modifier, "" | "^~") && path.starts_with(text)
        });
        let longest = prefixes.max_by_key(|(_, (_, text))| text.len());
        if let Some((index, ("^~", _))) = longest {
            return Some(index);
        }
        let regex = parts.iter().position(|(modifier, text)| {
            modifier.starts_with('~')
                && Pattern::compile(text, Case::Sensitive)
                    .expect("a pattern")
                    .is_match(path.as_bytes())
        });
        regex.or(longest.map(|(index, _)| index))
    }

    fn locations() -> impl Strategy<Value = Vec<String>> {
        let modifier = prop_oneof![Just(""), Just(""), Just("= "), Just("^~ "), Just("~ ")];
        let one = (modifier, "/[ab/]{0,4}").prop_map(|(modifier, path)| {
            let path = path.replace("//", "/b").replace("//", "/b");
            if modifier == "~ " {
                format!("~ {}$", &path[1..])
            } else {
                format!("{modifier}{path}")
            }
        });
        proptest::collection::vec(one, 0..10).prop_map(|mut all| {
            let mut seen = std::collections::HashSet::new();
            all.retain(|text| seen.insert(text.replace("^~ ", "")));
            all
        })
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_nginx_rules_say(locations in locations(), path in "/[ab/]{0,6}") {
            let entries = locations.iter().map(|written| Entry {
                location: Location::parse(written).expect(written),
                outer: None,
                adds_slash: false,
                loose: false,
                written: written.clone(),
            });
            let (tree, twice) = Tree::build(entries.collect());
            prop_assert!(twice.is_empty());
            let found = match tree.find(path.as_bytes()) {
                Found::Node(node) => Some(node),
                Found::Slash(_) | Found::Nothing => None,
            };
            prop_assert_eq!(found, naive(&locations, &path), "{:?} {}", locations, path);
        }
    }
}
