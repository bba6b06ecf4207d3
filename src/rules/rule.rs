//! A failover rule as a value: `label: if ( condition ) then effect;`, whichever language it was
//! written in. `Display` writes the old language; what it writes is read back as the same rule.
use std::fmt;

/// A condition with a name, and what follows when it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub label: String,
    pub condition: Condition,
    pub effect: Effect,
}

/// What a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Act(Action),
    /// `then rfs.uptodate=up;`: an own resource gets a value.
    Assign {
        resource: String,
        value: Value,
    },
}

/// What a rule does to the module, weakest first: when several want something, the greatest is
/// done.
///
/// * `wakeup` ends a wait, which any other wish would begin again.
/// * `restart` stays on this node, `swap` asks the peer to take over and is declined where it
///   cannot, `stopstart` gives the service away in every case: the more is doubted, the stronger.
/// * `wait` says that a precondition is missing, so the service cannot run here at all. A restart
///   would fail for the same reason, a swap would leave a secondary that may not take over, and a
///   stopstart would end in the same WAIT after one more counted error (`maxloop`).
/// * `stop` is the only one that no fact undoes: who asks for it wants a person to look, and a
///   `wait` in its place would wake up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    Wakeup,
    Restart,
    Swap,
    StopStart,
    Wait,
    Stop,
}

/// The values that a rule may assign, and that checkers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Init,
    Down,
    Up,
    Unknown,
}

/// A condition. As a value, for `==` and `!=`, it is `up` when true and `down` when false; a
/// resource or a value, as a condition, is true when it is `up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `||` between at least two.
    Any(Vec<Condition>),
    /// `&&` between at least two.
    All(Vec<Condition>),
    Not(Box<Condition>),
    /// `==`, or `!=` where `equal` is false.
    Compare {
        left: Box<Condition>,
        equal: bool,
        right: Box<Condition>,
    },
    Resource(Resource),
    /// A word as it stands.
    Value(String),
    /// `cluster()`: see [`unsupported`].
    Cluster,
}

/// One resource, or several by wildcard, of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub whose: Whose,
    pub names: Names,
}

/// Whose resources: without prefix and with `local.` this node's, with `remote.` the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    Own,
    Peer,
}

/// Which resources are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    One(String),
    /// With `*`: all that match must satisfy the comparison.
    All(Pattern),
    /// With `?`: one that matches is enough.
    Any(Pattern),
}

/// `class.id`; `None` stands for the wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub class: Option<String>,
    pub id: Option<String>,
}

impl Action {
    pub const ALL: [Action; 6] = [
        Action::Wakeup,
        Action::Restart,
        Action::Swap,
        Action::StopStart,
        Action::Wait,
        Action::Stop,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Action::Wakeup => "wakeup",
            Action::Restart => "restart",
            Action::Swap => "swap",
            Action::StopStart => "stopstart",
            Action::Wait => "wait",
            Action::Stop => "stop",
        }
    }

    /// The action of this name, as both languages write it.
    pub fn named(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

impl Value {
    pub const ALL: [Value; 4] = [Value::Init, Value::Down, Value::Up, Value::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Value::Init => "init",
            Value::Down => "down",
            Value::Up => "up",
            Value::Unknown => "unknown",
        }
    }

    pub fn named(name: &str) -> Option<Value> {
        Value::ALL.into_iter().find(|value| value.as_str() == name)
    }
}

impl Resource {
    /// This node's resource of that name.
    pub fn own(name: &str) -> Resource {
        Resource { whose: Whose::Own, names: Names::One(name.to_owned()) }
    }

    /// `[local.|remote.]class.id`; an id may hold more dots (`intf.192.168.0.0`). A wildcard is a
    /// whole part, and both parts have the same. `local.state` and `remote.state` are the
    /// resources `state.local` and `state.remote` of this node, which knows both.
    pub fn parse(text: &str) -> Option<Resource> {
        let (whose, name) = match (text.strip_prefix("local."), text.strip_prefix("remote.")) {
            (Some("state"), _) => return Some(Resource::own("state.local")),
            (_, Some("state")) => return Some(Resource::own("state.remote")),
            (Some(name), _) => (Whose::Own, name),
            (_, Some(name)) => (Whose::Peer, name),
            (None, None) => (Whose::Own, text),
        };
        let (class, id) = name.split_once('.')?;
        let wild = |part: &str| matches!(part, "*" | "?");
        let broken = |part: &str| part.is_empty() || !wild(part) && part.contains(['*', '?']);
        if broken(class) || broken(id) || wild(class) && wild(id) && class != id {
            return None;
        }
        let part = |part: &str| (!wild(part)).then(|| part.to_owned());
        let pattern = Pattern { class: part(class), id: part(id) };
        let names = match (class, id) {
            ("*", _) | (_, "*") => Names::All(pattern),
            ("?", _) | (_, "?") => Names::Any(pattern),
            _ => Names::One(name.to_owned()),
        };
        Some(Resource { whose, names })
    }
}

impl Rule {
    /// Whether it looks at this resource of this node.
    pub fn looks_at(&self, name: &str) -> bool {
        let mut found = false;
        self.condition.visit(&mut |condition| {
            found |= matches!(condition, Condition::Resource(resource)
                if resource.whose == Whose::Own && resource.names.hold(name));
        });
        found
    }
}

impl Names {
    pub fn hold(&self, name: &str) -> bool {
        match self {
            Names::One(one) => one == name,
            Names::All(pattern) | Names::Any(pattern) => pattern.matches(name),
        }
    }
}

impl Pattern {
    pub fn matches(&self, name: &str) -> bool {
        let Some((class, id)) = name.split_once('.') else { return false };
        let fits = |part: &Option<String>, found| part.as_deref().is_none_or(|part| part == found);
        fits(&self.class, class) && fits(&self.id, id)
    }
}

impl Condition {
    /// `left == right`, or `left != right` where `equal` is false.
    pub fn compare(left: Condition, equal: bool, right: Condition) -> Condition {
        Condition::Compare { left: Box::new(left), equal, right: Box::new(right) }
    }

    /// This condition and all inside it, from left to right.
    pub fn visit<'a>(&'a self, look: &mut impl FnMut(&'a Condition)) {
        look(self);
        match self {
            Condition::Any(parts) | Condition::All(parts) => {
                parts.iter().for_each(|part| part.visit(look));
            }
            Condition::Not(inner) => inner.visit(look),
            Condition::Compare { left, right, .. } => {
                left.visit(look);
                right.visit(look);
            }
            Condition::Resource(_) | Condition::Value(_) | Condition::Cluster => {}
        }
    }
}

/// Classes whose resources this program writes: again whenever something happens, or whenever what
/// they are changes.
const TOLD_BY_THE_NODE: [&str; 7] =
    ["connections", "heartbeat", "proc", "rfs", "splitbrain", "state", "usersetting"];

/// What in this rule is understood and cannot be answered or done, as a sentence for a note.
pub fn unsupported(rule: &Rule) -> Option<&'static str> {
    let mut found = None;
    rule.condition.visit(&mut |condition| {
        if *condition == Condition::Cluster {
            found = Some("cluster() is not evaluated: it counts as unknown");
        }
    });
    if let Effect::Assign { resource, .. } = &rule.effect
        && resource.split_once('.').is_some_and(|(class, _)| TOLD_BY_THE_NODE.contains(&class))
    {
        found = Some("the node itself says what this resource is: no assignment to it lasts");
    }
    found
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: if ( {} ) then {};", self.label, self.condition, self.effect)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Act(action) => write!(f, "{}()", action.as_str()),
            Effect::Assign { resource, value } => write!(f, "{resource}={}", value.as_str()),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Condition], sign: &str| {
            for (index, part) in parts.iter().enumerate() {
                write!(f, "{}{}", if index > 0 { sign } else { "" }, Inner(part))?;
            }
            Ok(())
        };
        match self {
            Condition::Any(parts) => joined(f, parts, " || "),
            Condition::All(parts) => joined(f, parts, " && "),
            Condition::Not(inner) => write!(f, "!{}", Inner(inner)),
            Condition::Compare { left, equal, right } => {
                let sign = if *equal { "==" } else { "!=" };
                write!(f, "{} {sign} {}", Inner(left), Inner(right))
            }
            Condition::Resource(resource) => resource.fmt(f),
            Condition::Value(value) => f.write_str(value),
            Condition::Cluster => f.write_str("cluster()"),
        }
    }
}

/// A condition inside another: in parentheses where it has operators of its own.
struct Inner<'a>(&'a Condition);

impl fmt::Display for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Condition::Resource(_) | Condition::Value(_) | Condition::Cluster => self.0.fmt(f),
            condition => write!(f, "({condition})"),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.whose == Whose::Peer { "remote." } else { "" })?;
        let (pattern, wildcard) = match &self.names {
            Names::One(name) => return f.write_str(name),
            Names::All(pattern) => (pattern, "*"),
            Names::Any(pattern) => (pattern, "?"),
        };
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| wildcard.to_owned());
        write!(f, "{}.{}", part(&pattern.class), part(&pattern.id))
    }
}
