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

#[test]
fn receivers_are_read_in_the_order_of_the_file() {
    let config = parse(
        "<watch><webhook url='https://h/x'/><command path='/bin/x'/>\
         <mail server='mx' from='a@b.c' to='d@e.f, g@h.i' user='u' password_file='/p'/></watch>",
    );
    let config = config.unwrap();
    let [
        ReceiverConfig::Webhook(webhook),
        ReceiverConfig::Command(command),
        ReceiverConfig::Mail(mail),
    ] = config.receivers.as_slice()
    else {
        panic!("{:?}", config.receivers)
    };
    assert_eq!((webhook.url.host(), command.timeout.as_secs()), (Some("h"), 30));
    assert_eq!((mail.port, mail.tls, mail.to.len()), (587, MailTls::StartTls, 2));
    assert_eq!(mail.credentials, Some(("u".to_owned(), "/p".into())));
}

#[test]
fn a_receiver_that_cannot_be_meant_is_a_mistake() {
    for (bad, part) in [
        ("<mail server='mx' from='a' to='d@e.f'/>", "from= to be mail addresses"),
        ("<mail server='mx' from='a@b.c' to='d@e.f,'/>", "to= to be mail addresses"),
        ("<mail server='mx' from='a@b.c, d@e.f' to='d@e.f'/>", "one sender"),
        ("<mail server='mx' from='a@b.c' to='d@e.f' user='u'/>", "password_file="),
        (
            "<mail server='mx' tls='none' from='a@b.c' to='d@e.f' user='u' password_file='/p'/>",
            "where a password is sent",
        ),
        ("<mail server='mx' port='0' from='a@b.c' to='d@e.f'/>", "port="),
        ("<webhook url='ftp://h/'/>", "url= to be"),
        ("<webhook url='https://u:p@h/'/>", "without user and password"),
        ("<webhook url='/x'/>", "url= to be"),
        ("<webhook url='http://h/' authorization_file='/f'/>", "https in url="),
        ("<command path='x'/>", "absolute path"),
        ("<command path='/x' timeout='0'/>", "timeout="),
    ] {
        let said = mistakes(&format!("<watch>{bad}</watch>"));
        assert!(said.len() == 1 && said[0].contains(part), "{bad}: {said:#?}");
    }
    let many = "<command path='/x'/>".repeat(RECEIVERS_MAX + 1);
    assert!(mistakes(&format!("<watch>{many}</watch>"))[0].contains("at most"));
}
