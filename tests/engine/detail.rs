//! The line for each file that a return looked at.
use crate::pair::Pair;
use lockstep::model::{EngineEvent, Level};

/// `reidetail`: what was looked at, what travelled of it, and nothing of what stayed as it was.
#[test]
fn a_return_tells_of_each_file() {
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.configure(|config| config.return_detail = true);
    pair.begin();
    let dir = pair.dir.display().to_string();
    pair.n1.run(&format!("mkdir {dir}/sub; echo stays > {dir}/old; echo first > {dir}/sub/file"));
    pair.lose_n2();
    pair.n1.run(&format!(
        "head -c 10000 /dev/urandom > {dir}/new; chmod 700 {dir}/sub/file; touch {dir}/empty"
    ));
    pair.n2.start();
    pair.n2.follow(false);
    pair.n2.wait(|event| matches!(event, EngineEvent::Ready));
    let mut told = Vec::new();
    pair.n1.wait(|event| {
        if let EngineEvent::Log { level: 'I', text } = event {
            told.extend(text.strip_prefix(&format!("Updated {dir}/")).map(str::to_owned));
        }
        matches!(event, EngineEvent::PeerReady { .. })
    });
    // What no checkpoint had covered is looked at as well.
    told.retain(|line| !line.starts_with("old:"));
    told.sort();
    let equal = "its content is equal";
    let wanted = [
        format!("empty: {equal}"),
        "new: 10000 bytes copied".to_owned(),
        format!("sub/file: {equal}"),
    ];
    assert_eq!(told, wanted);
    pair.assert_equal();
}
