//! What a new module must know: from flags, and on a terminal from whoever sits there.
use crate::api::Refusal;
use crate::cli::args::NewModule;
use crate::cli::context::usage;
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use std::io::BufRead;
use std::net::IpAddr;
use std::path::PathBuf;

const NONE: &str = "none";
/// Attempts to answer a question.
const ATTEMPTS: usize = 5;

/// What runs on the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// In the order of their start.
    Units(Vec<String>),
    Command {
        line: String,
        user: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    pub dirs: Vec<PathBuf>,
    /// With the length of its network, if somebody knows it.
    pub vip: Option<(IpAddr, Option<u8>)>,
    pub run: Run,
    pub port: Option<u16>,
    pub lans: Vec<String>,
}

/// Names of the lans of this node's cluster.
pub fn lans(paths: &Paths) -> Vec<String> {
    let known = ClusterConfig::load(&paths.cluster_xml()).ok();
    let names: Vec<String> =
        known.iter().flat_map(|cluster| &cluster.lans).map(|lan| lan.name.clone()).collect();
    if names.is_empty() { vec!["default".to_owned()] } else { names }
}

/// `ask`: a terminal. Without one a missing answer is none where there may be none, else a mistake.
pub fn answers(
    given: &NewModule,
    lans: &[String],
    mut ask: Option<&mut dyn BufRead>,
    say: &mut dyn FnMut(&str),
) -> Result<Answers, Refusal> {
    let mut asker = |flag: &str, question: &str, usual: Option<&str>| match &mut ask {
        Some(terminal) => Ok(Some(line(*terminal, say, question, usual)?)),
        None if usual.is_some() => Ok(None),
        None => {
            Err(usage(format!("{flag} is missing, and there is no terminal to ask: {question}")))
        }
    };
    let dirs: Vec<String> =
        given.dirs.iter().map(|dir| dir.to_string_lossy().into_owned()).collect();
    let dirs = answer(
        dirs.join(","),
        "",
        &mut |usual| {
            asker(
                "--dir",
                "1. Which directories does the application write to? (absolute, commas between)",
                usual,
            )
        },
        &directories,
    )?;
    let vip = answer(
        given.vip.clone().unwrap_or_default(),
        NONE,
        &mut |usual| {
            asker(
                "--vip",
                "2. Which address do clients use? It moves with the primary. (or none)",
                usual,
            )
        },
        &address,
    )?;
    let run = match (&given.command, given.units.is_empty()) {
        (Some(line), _) => line.clone(),
        (None, _) => given.units.join(","),
    };
    let mut run = answer(
        run,
        "",
        &mut |usual| {
            let question = "3. What runs the application? systemd units in the order of their \
                            start (commas between), or a command that begins with its path";
            asker("--unit or --command", question, usual)
        },
        &program,
    )?;
    if let Run::Command { user, .. } = &mut run {
        *user = given.user.clone().map(|name| user_name(&name)).transpose().map_err(usage)?;
    }
    let port = answer(
        given.port.clone().unwrap_or_default(),
        NONE,
        &mut |usual| {
            asker("--port", "4. Which TCP port does it listen on? It is watched. (or none)", usual)
        },
        &port,
    )?;
    let all = lans.join(",");
    let lans = answer(
        given.lans.join(","),
        &all,
        &mut |usual| {
            let question = "5. Over which lans of cluster.xml do the nodes hear each other? The \
                            first one carries the data. (commas between)";
            asker("--lan", question, usual)
        },
        &names,
    )?;
    Ok(Answers { dirs, vip, run, port, lans })
}

/// Gets what an empty line means; `None`: nobody is there to be asked.
type Asker<'a> = dyn FnMut(Option<&str>) -> Result<Option<String>, Refusal> + 'a;

/// The answer that was given, or asked for until it is one. `usual` is that of an empty line.
fn answer<T>(
    given: String,
    usual: &str,
    ask: &mut Asker<'_>,
    read: &dyn Fn(&str) -> Result<T, String>,
) -> Result<T, Refusal> {
    if !given.is_empty() {
        return read(&given).map_err(usage);
    }
    let mut wrong = String::new();
    for _ in 0..ATTEMPTS {
        let usual = Some(usual).filter(|usual| !usual.is_empty());
        let Some(text) = ask(usual)? else { return read(usual.unwrap_or_default()).map_err(usage) };
        match read(&text) {
            Ok(value) => return Ok(value),
            Err(why) => wrong = why,
        }
    }
    Err(usage(wrong))
}

fn line(
    terminal: &mut dyn BufRead,
    say: &mut dyn FnMut(&str),
    question: &str,
    usual: Option<&str>,
) -> Result<String, Refusal> {
    match usual {
        Some(usual) => say(&format!("{question} [{usual}]")),
        None => say(question),
    }
    let mut text = String::new();
    match terminal.read_line(&mut text) {
        Ok(0) => Err(usage("the answers ended before the questions; nothing was written")),
        Ok(_) if text.trim().is_empty() => Ok(usual.unwrap_or_default().to_owned()),
        Ok(_) => Ok(text.trim().to_owned()),
        Err(error) => Err(usage(format!("cannot read an answer: {error}"))),
    }
}

fn parts(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// What stands in XML between quotes, and is no macro.
fn plain(what: &str, text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control() || *c == '%') {
        None => Ok(()),
        Some(found) => {
            Err(format!("{what} {text:?} has {found:?} in it, which a module cannot take"))
        }
    }
}

fn directories(text: &str) -> Result<Vec<PathBuf>, String> {
    let dirs = parts(text);
    if dirs.is_empty() {
        return Err("at least one directory must be mirrored, e.g. /srv/web".to_owned());
    }
    for dir in &dirs {
        plain("directory", dir)?;
        if !dir.starts_with('/') {
            return Err(format!("directory {dir} is not absolute: write it from / on"));
        }
    }
    Ok(dirs.into_iter().map(PathBuf::from).collect())
}

fn address(text: &str) -> Result<Option<(IpAddr, Option<u8>)>, String> {
    if text == NONE {
        return Ok(None);
    }
    let (addr, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let wrong = || format!("{text:?} is no address: 192.0.2.10, 192.0.2.10/24 or none");
    let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
    let most = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map(|prefix| prefix.parse::<u8>().map_err(|_| wrong())).transpose()?;
    if prefix.is_some_and(|prefix| prefix > most) {
        return Err(wrong());
    }
    Ok(Some((addr, prefix)))
}

fn program(text: &str) -> Result<Run, String> {
    plain("command", text)?;
    if text.starts_with('/') {
        return Ok(Run::Command { line: text.to_owned(), user: None });
    }
    let units = parts(text);
    if units.is_empty() {
        return Err("something must run: units, or a command that begins with /".to_owned());
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.@\\".contains(c);
    match units.iter().find(|unit| unit.starts_with('-') || !unit.chars().all(fits)) {
        None => Ok(Run::Units(units)),
        Some(unit) => {
            Err(format!("{unit:?} is no name of a unit, and no command, which begins with /"))
        }
    }
}

fn user_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text.starts_with('-') || text.is_empty() || !text.chars().all(fits) {
        true => Err(format!("{text:?} is no name of a user: --user NAME")),
        false => Ok(text.to_owned()),
    }
}

fn port(text: &str) -> Result<Option<u16>, String> {
    match text {
        NONE => Ok(None),
        _ => match text.parse() {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ => Err(format!("{text:?} is no port: 1 to 65535, or none")),
        },
    }
}

fn names(text: &str) -> Result<Vec<String>, String> {
    let names = parts(text);
    names.iter().try_for_each(|name| plain("lan", name))?;
    if names.is_empty() { Err("the nodes need a lan: --lan default".to_owned()) } else { Ok(names) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn asked(text: &str, given: &NewModule) -> (Result<Answers, Refusal>, Vec<String>) {
        let (mut lines, mut said) = (Cursor::new(text.to_owned()), Vec::new());
        let lans = ["a".to_owned(), "b".to_owned()];
        let answers =
            answers(given, &lans, Some(&mut lines), &mut |line| said.push(line.to_owned()));
        (answers, said)
    }

    #[test]
    fn five_questions_and_a_wrong_answer_is_asked_for_again() {
        let (answers, said) = asked(
            "srv/web\n/srv/web, /srv/db\n192.0.2.7/24\nnginx.service\n80\n\n",
            &NewModule::default(),
        );
        let answers = answers.unwrap();
        assert_eq!(said.len(), 6, "{said:#?}");
        assert_eq!(answers.dirs, [PathBuf::from("/srv/web"), PathBuf::from("/srv/db")]);
        assert_eq!(answers.vip, Some(("192.0.2.7".parse().unwrap(), Some(24))));
        assert_eq!(answers.run, Run::Units(vec!["nginx.service".into()]));
        assert_eq!((answers.port, answers.lans), (Some(80), vec!["a".into(), "b".into()]));
    }

    #[test]
    fn what_flags_say_is_not_asked() {
        let given = NewModule {
            dirs: vec!["/srv/a".into()],
            vip: Some(NONE.into()),
            command: Some("/usr/bin/app --x 'y'".into()),
            user: Some("app".into()),
            ..NewModule::default()
        };
        let (answers, said) = asked("\n\n", &given);
        assert_eq!(said.len(), 2, "{said:#?}");
        let user = Some("app".into());
        let run = Run::Command { line: "/usr/bin/app --x 'y'".into(), user };
        assert_eq!(answers.unwrap().run, run);
        let (ended, _) = asked("\n", &given);
        assert!(ended.unwrap_err().text.contains("nothing was written"));
    }

    #[test]
    fn without_a_terminal_what_is_missing_is_named() {
        let none = |given: &NewModule| answers(given, &["default".into()], None, &mut |_| {});
        let dirs = vec![PathBuf::from("/srv/a")];
        assert!(none(&NewModule::default()).unwrap_err().text.contains("--dir"));
        let given = NewModule { dirs: dirs.clone(), ..NewModule::default() };
        assert!(none(&given).unwrap_err().text.contains("--unit or --command"));
        let given = NewModule { units: vec!["a".into()], ..given };
        let answers = none(&given).unwrap();
        assert_eq!((answers.vip, answers.port, answers.lans), (None, None, vec!["default".into()]));
        for (vip, port, user) in [
            (Some("x"), None, None),
            (Some("192.0.2.1/33"), None, None),
            (None, Some("0"), None),
            (None, Some("http"), None),
            (None, None, Some("a b")),
        ] {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let given = NewModule {
                dirs: dirs.clone(),
                vip: owned(vip),
                port: owned(port),
                command: Some("/bin/true".into()),
                user: owned(user),
                ..NewModule::default()
            };
            assert!(none(&given).is_err(), "{given:?}");
        }
    }
}
