use super::*;
use proptest::prelude::*;
use std::path::Path;

fn read(text: &str) -> (Option<Element>, Result<Vec<String>, Vec<String>>) {
    let mut findings = Findings::new(Path::new("f.xml"), text);
    let tree = parse(text, "safe", &mut findings);
    let said = match findings.finish() {
        Ok(notes) => Ok(notes.iter().map(ToString::to_string).collect()),
        Err(mistakes) => Err(mistakes.0.iter().map(ToString::to_string).collect()),
    };
    (tree, said)
}

fn mistakes(text: &str) -> Vec<String> {
    read(text).1.expect_err("mistakes")
}

#[test]
fn places_are_those_of_the_file() {
    let text =
        "<!DOCTYPE safe>\n<safe>\n  <macro name=\"é\" value='a&amp;b'/>x<![CDATA[<y>]]></safe>\n";
    let (tree, said) = read(text);
    let tree = tree.expect("a tree");
    assert_eq!(said, Ok(vec![]));
    assert_eq!(&text[tree.at..tree.at + 5], "<safe");
    let macro_element = &tree.children[0];
    assert_eq!(&text[macro_element.at..macro_element.at + 6], "<macro");
    let value = macro_element.attribute("value").expect("value");
    assert_eq!((&text[value.at..value.at + 5], &text[value.raw.clone()]), ("value", "a&amp;b"));
    assert_eq!(value.value, "a&b");
    let texts: Vec<_> = tree.texts.iter().map(|t| (&text[t.raw.clone()], t.cdata)).collect();
    assert_eq!(texts, [("x", false), ("<y>", true)]);
}

#[test]
fn every_mistake_of_form_is_found_in_one_run() {
    let text = "<safe>\n <a x=1 y=\"2\" y=\"3\">\n  <b>\n </a>\n <c>&bomb;</c>\n <d v=\"&e;\"/>\n</x>\n</safe>";
    let found = mistakes(text);
    let places: Vec<&str> = found.iter().map(|m| &m[..m.find(": ").unwrap()]).collect();
    assert_eq!(
        places,
        ["f.xml:2:7", "f.xml:2:15", "f.xml:3:3", "f.xml:5:5", "f.xml:6:8", "f.xml:7:1"],
        "{found:#?}"
    );
}

#[test]
fn bombs_and_strange_documents_are_refused() {
    for (text, part) in [
        ("<!DOCTYPE safe [<!ENTITY a \"b\">]><safe/>", "1:16: <!DOCTYPE>: expected only a name"),
        ("<!DOCTYPE html><safe/>", "1:11: <!DOCTYPE>: expected safe, found \"html\""),
        ("", "1:1: expected <safe>, found no element"),
        ("<cluster/>", "1:1: <cluster>: expected <safe>"),
        ("<safe/><safe/>", "1:8: <safe>: expected nothing after </safe>"),
        ("<safe/>tail", "1:8: expected only <safe> at this level, found the text \"tail\""),
        ("<safe>", "1:1: <safe>: expected </safe>, found the end of the file"),
        ("<safe><!-- ", "1:7: <safe>: expected --> after this <!--, found the end of the file"),
        ("<safe a=\"b><c d=\"e\"/></safe>", "1:1: expected a closing quote in this tag"),
        ("<safe><a b=\"c><d e=\"f/></safe>", "1:15: <a>: expected no < in a value"),
    ] {
        let found = mistakes(text);
        assert!(found[0].contains(part), "{text}: {found:#?}");
    }
    let deep = "<safe>".repeat(100) + &"</safe>".repeat(100);
    assert!(mistakes(&deep)[0].contains("32 deep"));
}

#[test]
fn other_encodings_are_read_or_named() {
    let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><safe a='\xe9'/>".to_vec();
    let text = decode(Path::new("f.xml"), latin).expect("latin");
    assert_eq!(read(&text).0.expect("tree").attributes[0].value, "é");
    let error =
        decode(Path::new("f.xml"), b"<safe>\n \xff</safe>".to_vec()).expect_err("not UTF-8");
    assert_eq!(
        error.to_string(),
        "f.xml:2:2: expected UTF-8 text, found the byte 0xff: save it as UTF-8"
    );
}

proptest! {
    #[test]
    fn nothing_panics_on_any_text(text in "[<>/!\\[\\]A-Za-c \"'=&;?\\-é\n]{0,200}") {
        let _ = read(&text);
        let _ = read(&format!("<safe>{text}</safe>"));
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(text) = decode(Path::new("f"), bytes) {
            let _ = read(&text);
        }
    }
}
