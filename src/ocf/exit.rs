//! Exit codes of agents: what each means and what to do, in one sentence.

/// The action is done; of a monitor: the application runs.
pub const SUCCESS: i32 = 0;
/// Something that the application needs is not on this node, so it cannot run here either.
pub const NOT_INSTALLED: i32 = 5;
/// Of a monitor: the application is cleanly stopped.
pub const NOT_RUNNING: i32 = 7;
/// Of a monitor: the application runs, and is likely to fail.
pub const DEGRADED: i32 = 190;

/// Whether a monitor that ended with this code says that the application runs as it should: as
/// usual, as a promoted instance, or about to fail.
pub fn is_running(code: i32) -> bool {
    matches!(code, SUCCESS | 8 | DEGRADED | 191)
}

/// What this code of `action` means, and what to do about it; goes on from `ended with code N: `.
pub fn meaning(action: &str, code: i32) -> String {
    let look = action == "monitor";
    match code {
        SUCCESS if look => "the application runs".into(),
        SUCCESS => "done".into(),
        1 if look => {
            "the application is not healthy, or its state cannot be told: read the agent's output"
                .into()
        }
        1 => "it failed without saying more in its code: read the agent's output".into(),
        2 => {
            "the agent does not accept its parameters on this node: compare each <param> with the \
             files, users and addresses that are here"
                .into()
        }
        3 => format!(
            "the agent does not know the action {action}, which the OCF API demands: take another \
             version of the agent"
        ),
        4 => "the agent lacks a right: see what its output names, who owns it and with which mode"
            .into(),
        NOT_INSTALLED => {
            "a program or file that the application needs is not on this node: install it as on \
             the other node"
                .into()
        }
        6 => "the parameters can be right on no node: correct the <param> lines of userconfig.xml"
            .into(),
        NOT_RUNNING if look => {
            "the application does not run: if nobody stopped it, its own log says why it ended"
                .into()
        }
        NOT_RUNNING => {
            "the application does not run: its own log and the agent's output say why".into()
        }
        8 => "the application runs as a promoted instance".into(),
        9 => "the promoted instance has failed: read the agent's output".into(),
        DEGRADED | 191 => "the application runs, but is likely to fail: read its own log".into(),
        _ => "a code that the OCF API does not define: read the agent's output".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_own_sentence_that_says_what_to_do() {
        for action in ["start", "stop", "monitor"] {
            let all: std::collections::BTreeSet<String> =
                (0..=7).map(|code| meaning(action, code)).collect();
            assert_eq!(all.len(), 8, "{action}: {all:?}");
            for code in 1..=7 {
                let sentence = meaning(action, code);
                let (_, next) = sentence.split_once(": ").expect("a remedy");
                assert!(next.len() > 10, "{action} {code}: {sentence}");
            }
        }
        assert!(meaning("start", 3).contains("the action start"));
        assert!(meaning("stop", 5).contains("not on this node"));
        assert!(meaning("start", 77).contains("does not define"));
    }

    #[test]
    fn a_promoted_and_a_degraded_application_runs() {
        let running: Vec<i32> = (0..=255).filter(|code| is_running(*code)).collect();
        assert_eq!(running, [0, 8, 190, 191]);
    }
}
