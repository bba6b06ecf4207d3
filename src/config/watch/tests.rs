use super::*;

fn parse(text: &str) -> Result<WatchConfig, Mistakes> {
    WatchConfig::parse(Path::new("watch.xml"), text)
}

fn mistakes(text: &str) -> Vec<String> {
    parse(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_is_read_and_nothing_is_nothing() {
    let config = parse(r#"<watch><metrics listen="127.0.0.1:9184"/></watch>"#).unwrap();
    assert_eq!(config.metrics, Some("127.0.0.1:9184".parse().unwrap()));
    let config = parse(r#"<watch><metrics listen="[::1]:9184"/></watch>"#).unwrap();
    assert_eq!(config.metrics, Some("[::1]:9184".parse().unwrap()));
    assert_eq!(parse("<watch/>").unwrap(), WatchConfig::default());
}

#[test]
fn all_mistakes_are_said_at_once_with_their_places() {
    let said = mistakes("<watch>\n <metrics listen=\"9184\" port=\"1\"/>\n <metric/>\n</watch>");
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said[0].starts_with("watch.xml:2:19: <metrics>: expected listen= to be"), "{said:?}");
    assert!(said[1].contains("watch.xml:2:") && said[1].contains("found port"), "{said:?}");
    assert!(said[2].starts_with("watch.xml:3:2: <metric>") && said[2].contains("did you mean"));
    for bad in ["localhost:9184", "127.0.0.1", "127.0.0.1:0", ""] {
        let text = format!("<watch><metrics listen=\"{bad}\"/></watch>");
        assert_eq!(mistakes(&text).len(), 1, "{bad}");
    }
    assert_eq!(mistakes("<watch><metrics/></watch>").len(), 1);
}
