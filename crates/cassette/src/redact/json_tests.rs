use super::*;
use crate::redact::operations::OPERATIONS;
use crate::redact::{Filter, KnownSecrets, Pseudonyms, Retention, is_hidden};

fn shown(text: &str, shape: Shape, keeps_unlisted: bool) -> Option<String> {
    let (pseudonyms, known) = (Pseudonyms::new(&[1; 32]), KnownSecrets::default());
    let filter = Filter { pseudonyms: &pseudonyms, known: &known, retention: Retention::default() };
    redact(Scope { filter: &filter, base: "http://h", keeps_unlisted }, text, shape)
}

fn users() -> Shape {
    OPERATIONS.iter().find(|operation| operation.request_path().ends_with("/users")).unwrap().response
}

#[test]
fn names_and_values_that_no_table_names_are_replaced_at_every_depth() {
    let text =
        r#"{"a":1,"b":{"page":["c"]},"d":null,"e":true,"_embedded":{"data":[{"id":7,"f":[[{"id":8}]]}]}}"#;
    let new: serde_json::Value = serde_json::from_str(&shown(text, users(), false).unwrap()).unwrap();
    let user = &new["_embedded"]["data"][0];
    assert_eq!(user["id"], 7);
    assert!(user.as_object().unwrap().keys().all(|name| name == "id" || is_hidden(name)));
    let top = new.as_object().unwrap();
    assert_eq!(top.len(), 5);
    assert!(top.keys().all(|name| name == "_embedded" || is_hidden(name)), "{new}");
    let line = new.to_string();
    assert!(!line.contains("\"c\"") && !line.contains("\"page\"") && !line.contains(":8}"), "{line}");
}

#[test]
fn a_value_of_another_type_than_specified_is_still_of_its_kind() {
    // This has a single value in place of a list, and a list in place of a single value.
    let text =
        r#"{"_embedded":{"data":{"id":7,"first_name":["Jane"],"extensions":{"extension_number":1001}}}}"#;
    let new = shown(text, users(), false).unwrap();
    assert!(new.contains("\"id\":7") && new.contains("\"extension_number\":1001"), "{new}");
    assert!(!new.contains("Jane"), "{new}");
}

#[test]
fn numbers_stay_numbers_and_are_no_way_around_the_table() {
    let text =
        r#"{"page":15551234567,"total_items":1e5,"_embedded":{"data":[{"id":123456789012,"x":-1.5}]}}"#;
    let new = shown(text, users(), false).unwrap();
    let value: serde_json::Value = serde_json::from_str(&new).unwrap();
    assert!(value["page"].is_u64() && value["_embedded"]["data"][0]["id"].is_u64(), "{new}");
    for number in ["15551234567", "1e5", "123456789012", "-1.5"] {
        assert!(!new.contains(number), "{new}");
    }
}

#[test]
fn a_document_that_was_cut_short_gives_nothing_away() {
    let text = r#"{"page":1,"_embedded":{"data":[{"first_name":"Jané","email":"jane@x.org","id":7,"x":"s3c"#;
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        if let Some(new) = shown(&text[..end], users(), false) {
            assert!(!new.contains("Jan") && !new.contains("jane") && !new.contains("s3c"), "{new}");
        }
    }
}

#[test]
fn escapes_are_no_way_around_the_table() {
    let text = r#"{"\u0070age":1,"s\u0033cret":"x","_embedded":{"data":[{"first_name":"J\u0061ne","id":"\u0037"}]}}"#;
    let new = shown(text, users(), false).unwrap();
    assert!(new.starts_with(r#"{"\u0070age":1,""#), "{new}");
    assert!(!new.contains("ne\"") && !new.contains("u0033") && new.contains(r#""id":"\u0037""#), "{new}");
    // Half a surrogate pair does not stop the search.
    let new = shown(r#"{"t\ud83d":"s3cret\ud83d","pa\"ge\\":"x\\"}"#, users(), false).unwrap();
    assert!(!new.contains("s3cret") && !new.contains("ge\\"), "{new}");
}

#[test]
fn what_is_no_json_is_not_read() {
    for text in ["", "x", "12", "{a:1}", "{\"a\":1} x", "\"a", "[1,]"] {
        assert_eq!(shown(text, users(), false), None, "{text}");
    }
}

#[test]
fn an_open_place_keeps_all_but_what_is_called_a_secret() {
    let text = r#"{"a":[1,"b"],"message":"c","token":{"d":"s3cret"},"e":{"PIN":1234,"code":"f"}}"#;
    let new = shown(text, Shape::Open, true).unwrap();
    assert!(new.starts_with(r#"{"a":[1,"b"],"message":"c","token":{"#), "{new}");
    assert!(!new.contains("s3cret") && !new.contains("1234") && new.ends_with(r#","code":"f"}}"#), "{new}");
}
