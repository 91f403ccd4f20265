use super::*;
use crate::cassette::hint::hint;

struct Show;

impl Hide for Show {
    fn hide(&mut self, kind: Kind, _: &str) -> Option<String> {
        Some(format!("<{kind:?}>"))
    }
}

fn shown(text: &str) -> String {
    value(text, Hint::Nothing, Depth::default(), &mut Show).unwrap_or_else(|| text.to_owned())
}

#[test]
fn numbers_to_call_are_found_and_other_numbers_are_not() {
    for number in [
        "+15551234567",
        "+1 (555) 123-4567",
        "+49 30 1234567",
        "15551234567",
        "5551234567",
        "(555) 123-4567",
        "555-123-4567",
        "555.123.4567",
        "1-555-123-4567",
        "1 555 123 4567",
    ] {
        assert_eq!(shown(number), "<Phone>", "{number}");
        assert_eq!(shown(&format!("from {number}, at once")), "from <Phone>, at once");
    }
    assert_eq!(shown("recording-15551234567.mp3"), "recording-<Phone>.mp3");
    for other in [
        "2026-09-05 16:00:00+0000",
        "2026-Sep-05 16:00:00+0000 UTC",
        "2026-11-24T15:06:12.123456789Z",
        "900901",
        "1001",
        "192.168.100.200",
        "3.14159265358979",
        "0.12345678901",
        "550e8400-e29b-41d4-a716-446655440000",
        "1700000000000000",
        "a15551234567",
    ] {
        assert_eq!(shown(other), other);
    }
}

#[test]
fn a_time_is_no_number_and_a_short_number_is_one_where_numbers_are() {
    assert_eq!(value("1700000000", hint("start_time"), Depth::default(), &mut Show), None);
    assert_eq!(value("2026-09-05 16:00:00", hint("start:gte"), Depth::default(), &mut Show), None);
    assert_eq!(value("5551234", hint("caller_id"), Depth::default(), &mut Show).unwrap(), "<Phone>");
    assert_eq!(value("5551234", hint("whatever"), Depth::default(), &mut Show), None);
    assert_eq!(value("1001", hint("from"), Depth::default(), &mut Show), None);
}

#[test]
fn addresses_are_found_and_a_tenant_is_not_taken_for_one() {
    assert_eq!(shown("write to jane.doe+x@mail.example.org."), "write to <Email>.");
    assert_eq!(shown("name@org.com@vbc.prod"), "<Email>@vbc.prod");
    assert_eq!(shown("15551234567@sip.example.com"), "<Email>");
    assert_eq!(shown("user@host @ x@ @y.com"), "user@host @ x@ @y.com");
}

#[test]
fn tokens_are_found_in_free_text() {
    assert_eq!(shown("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln!"), "got <Credential>!");
    assert_eq!(shown("Bearer 0123456789abcdef0123 is bad"), "Bearer <Credential> is bad");
    let help = "header: 'Authorization : Bearer ACCESS_TOKEN' or";
    assert_eq!(shown(help), help);
}

#[test]
fn urls_in_a_text_are_read_as_urls() {
    for (text, expected) in [
        ("postgres://app:s3cret@db/x", "postgres://<Credential>@db/x"),
        ("curl https://u:s3cret@localhost/ and j@x.org", "curl https://<Credential>@localhost/ and <Email>"),
        (
            "jdbc:mysql://u:p@ss@h:1/d?password=x, or so",
            "jdbc:mysql://<Credential>@h:1/d?password=%3CCredential%3E, or so",
        ),
        ("go to https://app/cb?code=s3cret&a=1.", "go to https://app/cb?code=%3CCredential%3E&a=1."),
        (
            "<a href='https://app/cb?a=1&amp;code=s3cret'>",
            "<a href='https://app/cb?a=1&amp;code=%3CCredential%3E'>",
        ),
        ("password: https://u:p@h/", "password: <Credential>"),
        ("://x ://y: a://b", "://x ://y: a://b"),
    ] {
        assert_eq!(shown(text), expected);
    }
}

#[test]
fn names_are_hidden_word_by_word() {
    let name = |text: &str| value(text, hint("first_name"), Depth::default(), &mut Show);
    assert_eq!(name("Mary-Ann O. Smith").unwrap(), "<Name>-<Name> O. <Name>");
    assert_eq!(name("jane@example.org").unwrap(), "<Email>");
}

#[test]
fn names_of_fields_are_read_without_separators() {
    for name in ["access_token", "X-Api-Key", "clientSecret", "sessionId", "pwd"] {
        assert_eq!(hint(name), Hint::Credential, "{name}");
    }
    for name in ["token_type", "tokenUrl", "password_expires"] {
        assert_ne!(hint(name), Hint::Credential, "{name}");
    }
    for name in ["caller_id", "phone_number", "from", "dids", "contact_numbers"] {
        assert_eq!(hint(name), Hint::Phone, "{name}");
    }
    for name in ["first_name", "login_name", "cnam", "source_user", "name"] {
        assert_eq!(hint(name), Hint::Name, "{name}");
    }
    for name in ["call_id", "start_time", "external_id", "start:gte"] {
        assert_eq!(hint(name), Hint::Opaque, "{name}");
    }
}
