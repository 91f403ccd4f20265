use super::*;

/// A text with its named values in brackets.
fn shown(text: &str, names: Names) -> String {
    let (mut out, mut at) = (String::new(), 0);
    while let Some(named) = next(text, at, names) {
        out += &format!("{}[{}]", &text[at..named.from], &text[named.from..named.to]);
        at = named.to;
    }
    out + &text[at..]
}

#[test]
fn credentials_are_found_behind_their_names() {
    for text in [
        "password=[s3cret]",
        "password=[s3cret]&user=jane&client_secret=[x] y z",
        "password=[ab==]&x",
        "a=b&token=[x]&c=d",
        "export API_KEY=[s3cret word]",
        "  - password: [my pass phrase]\n  - user: jane",
        "Authorization: Bearer [abc]\r\nHost: h",
        "curl -H 'Authorization: Bearer [abc]' -H \"X-Api-Key: [k;1]\"",
        "{'password': '[it\\'s]', 'a': 'b'}",
        "say \\\"password\\\": \\\"[x y]\\\", \\\"a\\\"",
        "\"password\" : \"[x\ny]\"",
        "the password is good, secret => [abc], rest",
        "Your API key: [abc]",
        "config[\"password\"] = \"[abc]\";",
        "see https://h/a?access_token=[abc#x]",
        "Cookie: [a=b; c=d]",
        "password=[hidden-0123456789abcdef] and more",
        "-----BEGIN RSA PRIVATE KEY-----\n[MIIE\nabc=]\n-----END RSA PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n[MII]",
        "wrong password: [hunter]",
        "wrong password: [Hunter2] is no good",
    ] {
        // The brackets are in none of the values.
        let plain: String = match text.starts_with("config") {
            true => text.replace("\"[", "\"").replace("]\";", "\";"),
            false => text.replace(['[', ']'], ""),
        };
        assert_eq!(shown(&plain, Names::Credentials), text.replace("[k;1]", "[k];1"), "{plain}");
    }
}

#[test]
fn what_only_looks_like_one_is_left() {
    for text in [
        "header: 'Authorization : Bearer ACCESS_TOKEN' or 'apikey: API_KEY'",
        "password: ${PASSWORD}",
        "password=",
        "password: \"\"",
        "password=****",
        "token: null",
        "token_type=Bearer",
        "at 12:30 monday: the key: nothing",
        "Invalid password: must be at least eight characters",
        "https://token://x",
        "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
        "=: ==",
    ] {
        assert_eq!(shown(text, Names::Credentials), text);
    }
}

#[test]
fn a_whole_document_has_other_names_too() {
    assert_eq!(
        shown("Name: Jane Doe\nTo: 5551234\nstarted: 1700000000 ms\nnote: x", Names::All),
        "Name: [Jane Doe]\nTo: [5551234]\nstarted: 1700000000 ms\nnote: x"
    );
    assert_eq!(
        shown("first_name=Jane&to=5551234&start_time=1700000000 x", Names::All),
        "first_name=[Jane]&to=[5551234]&start_time=[1700000000] x"
    );
}

#[test]
fn any_text_is_looked_through_without_end_or_panic() {
    let parts = [
        "password",
        "=",
        ":",
        "\"",
        "'",
        "\\",
        "\n",
        "é",
        "-----BEGIN PRIVATE KEY-----",
        " ",
        "Bearer ",
        "&",
    ];
    let mut seed = 1_usize;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text += parts[(seed >> 33) % parts.len()];
        }
        let all = shown(&text, Names::All);
        assert!(all.len() >= text.len());
    }
}
