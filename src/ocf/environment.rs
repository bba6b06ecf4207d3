//! What an agent finds in its environment beside what every script finds there.
use crate::model::Agent;
use std::path::Path;
use std::time::Duration;

/// One call of an agent.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Name of the instance on this node: agents keep their state in files of this name.
    pub instance: &'a str,
    /// `start`, `stop`, `monitor` …
    pub action: &'a str,
    pub limit: Duration,
    /// Of a monitor that is called again and again; zero: a single look, after which agents answer
    /// "not running" where what they need is not there.
    pub interval: Duration,
}

/// `OCF_…` of a call. The names that begin with `OCF_RESKEY_CRM_meta_` are Pacemaker's; its agents
/// look at them to divide their time.
pub fn environment(root: &Path, agent: &Agent, call: &Call<'_>) -> Vec<(String, String)> {
    let ms = |time: Duration| time.as_millis().to_string();
    let mut all: Vec<(String, String)> = [
        ("OCF_ROOT", root.to_string_lossy().into_owned()),
        ("OCF_RA_VERSION_MAJOR", "1".to_owned()),
        ("OCF_RA_VERSION_MINOR", "1".to_owned()),
        ("OCF_RESOURCE_INSTANCE", call.instance.to_owned()),
        ("OCF_RESOURCE_TYPE", agent.name.clone()),
        ("OCF_RESOURCE_PROVIDER", agent.provider.clone()),
        ("OCF_RESKEY_CRM_meta_name", call.action.to_owned()),
        ("OCF_RESKEY_CRM_meta_timeout", ms(call.limit)),
        ("OCF_RESKEY_CRM_meta_interval", ms(call.interval)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let (Some(depth), "monitor") = (agent.depth, call.action) {
        all.push(("OCF_CHECK_LEVEL".to_owned(), depth.to_string()));
    }
    let params = agent.params.iter();
    all.extend(params.map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.clone())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(action: &str, depth: Option<u32>) -> Vec<String> {
        let params = vec![("pgdata".into(), "/srv/a b".into()), ("config".into(), String::new())];
        let agent = Agent { provider: "heartbeat".into(), name: "pgsql".into(), params, depth };
        let (limit, interval) = (Duration::from_secs(20), Duration::from_millis(1500));
        let call = Call { instance: "web.db", action, limit, interval };
        let all = environment(Path::new("/usr/lib/ocf"), &agent, &call).into_iter();
        all.map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn an_agent_is_told_what_the_api_promises() {
        assert_eq!(
            of("monitor", Some(10)),
            [
                "OCF_ROOT=/usr/lib/ocf",
                "OCF_RA_VERSION_MAJOR=1",
                "OCF_RA_VERSION_MINOR=1",
                "OCF_RESOURCE_INSTANCE=web.db",
                "OCF_RESOURCE_TYPE=pgsql",
                "OCF_RESOURCE_PROVIDER=heartbeat",
                "OCF_RESKEY_CRM_meta_name=monitor",
                "OCF_RESKEY_CRM_meta_timeout=20000",
                "OCF_RESKEY_CRM_meta_interval=1500",
                "OCF_CHECK_LEVEL=10",
                "OCF_RESKEY_pgdata=/srv/a b",
                "OCF_RESKEY_config=",
            ]
        );
    }

    #[test]
    fn the_depth_is_for_the_monitor_alone() {
        for all in [of("start", Some(10)), of("stop", Some(10)), of("monitor", None)] {
            assert!(!all.iter().any(|line| line.starts_with("OCF_CHECK_LEVEL")), "{all:?}");
        }
    }
}
