//! The files of a new module. Scripts are those of the mirror template for units, and of their own
//! for a command; what differs between modules stands in `userconfig.xml` alone.
use super::{Answers, Run};
use std::fmt::Write;
use std::path::Path;

/// Name, mode and text.
pub type File = (&'static str, u32, String);

macro_rules! script {
    ($name:literal, $path:literal) => {
        (concat!("bin/", $name), 0o755, include_str!($path).to_owned())
    };
}

pub fn of(answers: &Answers) -> Vec<File> {
    let mut files = match answers.run {
        Run::Units(_) => vec![
            script!("prestart", "../../../modules/mirror/bin/prestart"),
            script!("start_prim", "../../../modules/mirror/bin/start_prim"),
            script!("stop_prim", "../../../modules/mirror/bin/stop_prim"),
        ],
        Run::Command { .. } => vec![
            script!("check_application", "command/check_application"),
            script!("common", "command/common"),
            script!("prestart", "command/prestart"),
            script!("start_prim", "command/start_prim"),
            script!("stop_prim", "command/stop_prim"),
        ],
    };
    files.push(("conf/userconfig.xml", 0o644, userconfig(answers)));
    files
}

fn userconfig(answers: &Answers) -> String {
    let heartbeats: String = answers
        .lans
        .iter()
        .map(|lan| format!("      <heartbeat name=\"{}\"/>\n", text(lan)))
        .collect();
    let dirs: String = answers
        .dirs
        .iter()
        .map(|dir| format!("      <replicated dir=\"{}\"/>\n", path(dir)))
        .collect();
    // What people answered comes last, and is not looked through for names of other places.
    let mut text = String::new();
    for part in include_str!("userconfig.xml").split('@') {
        text.push_str(&match part {
            "HEARTBEATS" => heartbeats.clone(),
            "VIP" => vip(answers),
            "DIRECTORIES" => dirs.clone(),
            "WATCH" => watch(answers),
            "VARIABLES" => vars(answers),
            plain => plain.to_owned(),
        });
    }
    text
}

fn vip(answers: &Answers) -> String {
    let Some((addr, prefix)) = answers.vip else { return String::new() };
    let netmask = prefix.map(|prefix| format!(" netmask=\"{prefix}\"")).unwrap_or_default();
    format!(
        "\n    <!-- The address that clients use. It moves with the primary. -->\n    <vip>\n      \
         <interface_list>\n        <interface>\n          <real_interface>\n            \
         <virtual_addr addr=\"{addr}\" where=\"one_side_alias\"{netmask}/>\n          \
         </real_interface>\n        </interface>\n      </interface_list>\n    </vip>\n"
    )
}

/// The application dies, or lives and does not answer: it is started again here.
fn watch(answers: &Answers) -> String {
    let mut all = String::new();
    if let Run::Units(units) = &answers.run {
        all.push_str(
            "\n    <!-- A unit that ends is started again with the others. -->\n    <errd>\n",
        );
        for unit in units {
            let _ = writeln!(
                all,
                "      <proc name=\"{}\" service=\"yes\" action=\"restart\" class=\"prim\"/>",
                text(unit)
            );
        }
        all.push_str("    </errd>\n");
    }
    let mut checks = String::new();
    if let Run::Command { .. } = &answers.run {
        checks.push_str(
            "      <custom ident=\"application\" when=\"prim\" exec=\"check_application\" arg=\"\" \
             action=\"restart\"/>\n",
        );
    }
    if let Some(port) = answers.port {
        let host = answers.vip.map_or_else(|| "127.0.0.1".to_owned(), |(addr, _)| addr.to_string());
        let _ = write!(
            checks,
            "      <tcp ident=\"port\" when=\"prim\" action=\"restart\">\n        \
             <to addr=\"{host}\" port=\"{port}\" interval=\"10s\" timeout=\"5s\"/>\n      </tcp>\n"
        );
    }
    if !checks.is_empty() {
        let _ = write!(all, "\n    <check>\n{checks}    </check>\n");
    }
    all
}

fn vars(answers: &Answers) -> String {
    let var = |name: &str, value: &str| {
        format!("      <var name=\"{name}\" value=\"{}\"/>\n", text(value))
    };
    match &answers.run {
        Run::Units(units) => var("SERVICES", &units.join(",")),
        Run::Command { line, user } => {
            let port = answers.port.map(|port| port.to_string()).unwrap_or_default();
            var("COMMAND", line)
                + &var("RUN_AS", user.as_deref().unwrap_or_default())
                + &var("PORT", &port)
        }
    }
}

fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// As an attribute's value.
fn text(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
