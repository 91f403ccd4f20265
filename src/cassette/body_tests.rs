use super::*;
use crate::cassette::pseudonyms::{Pseudonyms, Shapes};

fn shown(kind: &str, text: &str) -> String {
    let new = body(Some(kind).filter(|kind| !kind.is_empty()), text.as_bytes(), &mut Shapes);
    String::from_utf8(new.unwrap_or_else(|| text.as_bytes().to_vec())).unwrap()
}

#[test]
fn a_body_is_what_it_looks_like_whatever_its_type_says() {
    assert_eq!(form(None, b"grant_type=password&password=x"), Form::Fields);
    assert_eq!(form(None, b"{\"a\":\"b=c\"}"), Form::Json);
    assert_eq!(form(None, b"two words, a=b"), Form::Text);
    assert_eq!(form(Some("text/plain"), b"a=b"), Form::Fields);
    assert_eq!(form(Some("application/x-www-form-urlencoded"), b"a=b c&d"), Form::Fields);
    assert_eq!(form(Some("application/x-www-form-urlencoded"), b"{\"a\":1}"), Form::Json);
    assert_eq!(form(Some("application/json"), b"a=b&c=d"), Form::Fields);
    assert_eq!(form(Some("application/json"), b"\xef\xbb\xbf {\"a\""), Form::Json);
    assert_eq!(form(Some("text/plain"), b"[2026-01-01] password=x"), Form::Text);
    assert_eq!(form(None, b"<a>1</a>"), Form::Xml);
    assert_eq!(form(Some("image/svg+xml"), b"<a>1</a>"), Form::Xml);
    assert_eq!(form(Some("audio/mpeg"), b"15551234567"), Form::Opaque);
    assert_eq!(form(None, b"\xff\xfe"), Form::Opaque);
    assert_eq!(form(Some("text/plain"), b"\xff\x01"), Form::Text);
    assert_eq!(form(None, b"\xff\x01"), Form::Opaque);
    assert_eq!(form(None, b"a\0b"), Form::Opaque);
    assert_eq!(form(None, b"a\x01b"), Form::Text);
    assert_eq!(form(Some("text/plain"), b"a\0b"), Form::Text);
    // A boundary that is not there is none.
    assert_eq!(form(Some("multipart/form-data; boundary=b"), b"{\"a\":1}"), Form::Json);
    assert_eq!(form(Some("multipart/form-data; boundary=b"), b"--c\r\nx"), Form::Parts);
}

#[test]
fn bodies_are_read_as_what_they_are() {
    for (kind, text, expected) in [
        ("application/json", "{\"to\": \"15551234567\"}", "{\"to\": \"phone\"}"),
        ("text/plain", "{\"to\": \"15551234567\"}", "{\"to\": \"phone\"}"),
        (
            "",
            "{\"token\":\"x\"}\n{\"pin\":\"y\"}\n",
            "{\"token\":\"credential\"}\n{\"pin\":\"credential\"}\n",
        ),
        ("application/json", "\"{\\\"token\\\":\\\"x\\\"}\"", "\"{\\\"token\\\":\\\"credential\\\"}\""),
        ("application/json", "{\"a\":1,} // token: x1", "{\"a\":1,} // token: credential"),
        ("application/x-www-form-urlencoded", "{\"token\":\"x\"}", "{\"token\":\"credential\"}"),
        ("text/plain", "call 15551234567 or j@x.org", "call phone or email"),
        ("text/plain", "password=a%20b&to=15551234567\n", "password=credential&to=phone\n"),
        (
            "text/plain",
            "Authorization: Bearer x\nName: Jane Doe",
            "Authorization: Bearer credential\nName: name name",
        ),
        ("application/x-www-form-urlencoded", "password=x&to=15551234567", "password=credential&to=phone"),
        ("application/x-www-form-urlencoded", "about +1 (555) 123-4567", "about phone"),
        ("application/x-www-form-urlencoded", "pin=a b&to=+1 555 123 4567", "pin=credential&to=phone"),
        ("application/x-www-form-urlencoded", "user=Ann\npassword=b", "user=name\npassword=credential"),
        ("text/xml", "<password>x</password>", "<password>credential</password>"),
        (
            "text/event-stream; charset=utf-8",
            "event: call\r\ndata: {\"first_name\":\"Jane\"}\r\n\r\ndata: j@x.org\ndata: pin=1\n",
            "event: call\r\ndata: {\"first_name\":\"name\"}\r\n\r\ndata: email\ndata: pin=credential\n",
        ),
        (
            "text/plain",
            "Found. Redirecting to https://app/cb?code=s3cret&state=x",
            "Found. Redirecting to https://app/cb?code=credential&state=credential",
        ),
        (
            "text/html",
            "<p>Found. <a href=\"https://app/cb?state=x&amp;code=s3cret\">here</a></p>",
            "<p>Found. <a href=\"https://app/cb?state=credential&amp;code=credential\">here</a></p>",
        ),
        ("", "{\"db\":\"postgres://u:s3cret@db/x\"}", "{\"db\":\"postgres://credential@db/x\"}"),
        ("", "{\"a\":\"<l><pin>x</pin></l>\"}", "{\"a\":\"<l><pin>credential</pin></l>\"}"),
        (
            "application/x-www-form-urlencoded",
            "a=%3Cl+b%3D%221%22%3E%3Cpin%3Ex%3C%2Fpin%3E%3C%2Fl%3E",
            "a=%3Cl+b%3D%221%22%3E%3Cpin%3Ecredential%3C%2Fpin%3E%3C%2Fl%3E",
        ),
        ("audio/mpeg", "15551234567", "15551234567"),
        ("text/plain", "nothing to hide", "nothing to hide"),
    ] {
        assert_eq!(shown(kind, text), expected, "{kind}");
    }
}

#[test]
fn bytes_of_another_charset_stay() {
    let new = body(Some("text/plain; charset=iso-8859-1"), b"caf\xe9 pin=1 \xe9", &mut Shapes).unwrap();
    assert_eq!(new, b"caf\xe9 pin=credential \xe9");
}

#[test]
fn bytes_that_are_no_unicode_and_nul_bytes_hide_nothing() {
    for (kind, bytes, expected) in [
        (
            "text/xml",
            &b"<?xml encoding='ISO-8859-1'?><a b='\xe9'><password>\xe9</password></a>"[..],
            &b"<?xml encoding='ISO-8859-1'?><a b='\xe9'><password>credential</password></a>"[..],
        ),
        (
            "",
            b"{\"n\":\"Jos\xe9\",\"password\":\"s3cret\"}",
            b"{\"n\":\"Jos\xe9\",\"password\":\"credential\"}",
        ),
        ("", b"n=Jos\xe9&password=s3cret", b"n=Jos\xe9&password=credential"),
        ("", b"caf\xe9, it\x92s password=s3cret", b"caf\xe9, it\x92s password=credential"),
        ("", b"{\"password\":\"s3cret\"}\0\0", b"{\"password\":\"credential\"}\0\0"),
        ("", b"{\"a\":1}\0{\"password\":\"s3cret\"}\0", b"{\"a\":1}\0{\"password\":\"credential\"}\0"),
        ("", b"password=s3cret\0", b"password=credential"),
        ("text/plain", b"a\0b password=s3cret", b"a\0b password=credential"),
        (
            "",
            b"<\0p\0i\0n\0>\0x\0<\0/\0p\0i\0n\0>\0",
            b"<\0p\0i\0n\0>\0c\0r\0e\0d\0e\0n\0t\0i\0a\0l\0<\0/\0p\0i\0n\0>\0",
        ),
    ] {
        let new = body(Some(kind).filter(|kind| !kind.is_empty()), bytes, &mut Shapes).unwrap();
        assert_eq!(latin1(&new), latin1(expected));
    }
}

#[test]
fn text_of_two_bytes_a_character_is_read_too() {
    for write in [u16::to_le_bytes, u16::to_be_bytes] {
        let coded = |text: &str| text.encode_utf16().flat_map(write).collect::<Vec<u8>>();
        let new = body(Some("text/xml"), &coded("\u{feff}<pin>é1</pin>"), &mut Shapes).unwrap();
        assert_eq!(new, coded("\u{feff}<pin>credential</pin>"));
        assert_eq!(body(Some("audio/mpeg"), &coded("\u{feff}<pin>1</pin>"), &mut Shapes), None);
    }
    assert_eq!(body(None, b"\xff\xfe<\x00\x00\xd8", &mut Shapes), None);
}

#[test]
fn a_compressed_file_is_looked_into() {
    let packed = coding::gzip(b"{\"token\":\"x\"}").unwrap();
    let new = body(Some("application/gzip"), &packed, &mut Shapes).unwrap();
    assert_eq!(coding::decode("gzip", &new, 100).unwrap(), b"{\"token\":\"credential\"}");
    assert_eq!(body(None, &coding::gzip(b"{\"a\":\"x\"}").unwrap(), &mut Shapes), None);
    // What it cannot be taken out of does not stay.
    assert_eq!(body(None, &packed[..packed.len() - 4], &mut Shapes).unwrap(), b"");
    // So deep it is text.
    let deep = (0..20).fold(b"{\"token\":\"x\"}".to_vec(), |inside, _| coding::gzip(&inside).unwrap());
    let _ = body(None, &deep, &mut Shapes);
}

#[test]
fn what_has_been_hidden_is_hidden_already() {
    for text in [
        "{\"token\":\"s3cret\",\"note\":\"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln\"}",
        "password=s3cr=et and more",
        "secret: one two three",
        "<password>s3cret</password>",
        "--b\r\nContent-Disposition: form-data; name=\"pin\"\r\n\r\n12",
        "token=s3cret&a=b",
    ] {
        let mut hide = Pseudonyms::new(&[1; 32], true);
        let once = body(None, text.as_bytes(), &mut hide).unwrap();
        assert_eq!(body(None, &once, &mut hide), None, "{text}");
        // Both are found to be the same.
        let other = |text: &[u8]| body(None, text, &mut Shapes).unwrap();
        assert_eq!(String::from_utf8(other(&once)), String::from_utf8(other(text.as_bytes())), "{text}");
    }
}

#[test]
fn whatever_comes_is_read_without_panic_and_in_time() {
    let parts = [
        "{",
        "}",
        "[",
        "\"",
        "\\",
        ":",
        ",",
        "token",
        "=",
        "&",
        "<",
        ">",
        "/",
        "é",
        " ",
        "\n",
        "--b",
        "content-",
        "@x.org",
        "+1555",
        "hidden-",
        "Bearer ",
        "%",
        "0123456789abcdef",
        "?",
        "'",
        "\r\n\r\n",
        "http://",
        "020 7946 ",
        ";",
        "data:",
    ];
    let kinds =
        [None, Some("text/event-stream"), Some("multipart/form-data; boundary=b"), Some("text/plain")];
    let mut seed = 1_usize;
    for round in 0..20_000 {
        let mut text = String::new();
        for _ in 0..14 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text += parts[(seed >> 33) % parts.len()];
        }
        if let Some(once) = body(kinds[round % kinds.len()], text.as_bytes(), &mut Shapes) {
            assert!(std::str::from_utf8(&once).is_ok(), "{text}");
        }
    }
    // Nothing of this takes more than a look at each byte, more or less.
    for piece in [
        "e.",
        "1-",
        "token=\"",
        "a@",
        "<a ",
        "{",
        "--b\ncontent-disposition: ;;",
        "password: ",
        "+1 ",
        "a://",
        "http://h/?a=+http://",
        "?a=%3Ca%3E+",
        "-----BEGIN ",
    ] {
        let text = piece.repeat(200_000 / piece.len());
        for kind in kinds {
            let begun = std::time::Instant::now();
            let _ = body(kind, text.as_bytes(), &mut Shapes);
            assert!(begun.elapsed().as_secs() < 20, "{piece}");
        }
    }
}
