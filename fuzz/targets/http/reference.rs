//! A slow and literal parser of RFC 9112 for the whole input. It shares no code with the product.

/// Name and value.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// A complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
    /// Sorted, with names in lower case.
    pub(super) fields: Vec<Field>,
    pub(super) body: Vec<u8>,
    /// Whether the connection may end after this request (RFC 9112 §9.3).
    pub(super) last: bool,
}

/// What follows the complete requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Clean,
    /// A head that has not ended.
    InHead,
    /// A body that has not ended.
    InBody,
    Refused,
    /// The framing of a body is broken.
    RefusedInBody,
}

/// Why a message cannot be read.
enum Stop {
    Short,
    Bad,
}

type Read<T> = Result<T, Stop>;

/// Reads every request in `input`.
pub(super) fn read(mut input: &[u8]) -> (Vec<Message>, End) {
    let mut messages = Vec::new();
    loop {
        // RFC 9112 §2.2: one empty line before a request line is ignored.
        let rest = input.strip_prefix(b"\r\n").unwrap_or(input);
        if rest.is_empty() {
            return (messages, if input.is_empty() { End::Clean } else { End::InHead });
        }
        let (mut message, framing, rest) = match head(rest) {
            Ok(read) => read,
            Err(Stop::Short) => return (messages, End::InHead),
            Err(Stop::Bad) => return (messages, End::Refused),
        };
        let (body, rest) = match body(framing, rest) {
            Ok(read) => read,
            Err(Stop::Short) => return (messages, End::InBody),
            Err(Stop::Bad) => return (messages, End::RefusedInBody),
        };
        message.body = body;
        messages.push(message);
        input = rest;
    }
}

enum Framing {
    Length(u64),
    Chunked,
}

/// A line without its CR LF, and the rest. A lone LF ends no line, and a CR is valid only before a
/// LF.
fn line(input: &[u8]) -> Read<(&[u8], &[u8])> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return Err(Stop::Short) };
    let Some(line) = input[..end].strip_suffix(b"\r") else { return Err(Stop::Bad) };
    if line.contains(&b'\r') { Err(Stop::Bad) } else { Ok((line, &input[end + 1..])) }
}

fn head(input: &[u8]) -> Read<(Message, Framing, &[u8])> {
    let (start, mut rest) = line(input)?;
    let words: Vec<&[u8]> = start.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return Err(Stop::Bad) };
    let http_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(Stop::Bad),
    };
    let visible = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    if !is_token(method) || target.is_empty() || !target.iter().all(visible) {
        return Err(Stop::Bad);
    }
    let mut fields = Vec::new();
    loop {
        let (field, next) = line(rest)?;
        rest = next;
        if field.is_empty() {
            break;
        }
        fields.push(split_field(field)?);
    }
    let all = |name: &[u8]| -> Vec<Vec<u8>> {
        fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    };
    let hosts = all(b"host");
    if hosts.len() > 1 || hosts.is_empty() && http_11 {
        return Err(Stop::Bad);
    }
    let framing = framing(&all(b"content-length"), &all(b"transfer-encoding"), http_11)?;
    let lines = all(b"connection");
    let lists = |line: &[u8], option: &[u8]| {
        line.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(option))
    };
    let closes = lines.iter().any(|line| lists(line, b"close"));
    let kept = lines.iter().any(|line| lists(line, b"keep-alive"));
    let last = closes || !http_11 && !kept || method == b"CONNECT";
    fields.sort();
    let message =
        Message { method: method.to_vec(), target: target.to_vec(), fields, body: Vec::new(), last };
    Ok((message, framing, rest))
}

fn split_field(line: &[u8]) -> Read<Field> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Stop::Bad)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let printable = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    if !is_token(name) || !value.iter().all(printable) {
        return Err(Stop::Bad);
    }
    let white = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !white(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !white(byte)).map_or(start, |at| at + 1);
    Ok((name.to_ascii_lowercase(), value[start..end].to_vec()))
}

/// The framing of a body (RFC 9112 §6.3). Where the RFC leaves a proxy the choice, the message is
/// refused.
fn framing(lengths: &[Vec<u8>], codings: &[Vec<u8>], http_11: bool) -> Read<Framing> {
    match (lengths, codings) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [coding]) if http_11 && coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        ([first, others @ ..], []) => {
            let first = number(first).ok_or(Stop::Bad)?;
            let same = others.iter().all(|other| number(other) == Some(first));
            if same { Ok(Framing::Length(first)) } else { Err(Stop::Bad) }
        }
        _ => Err(Stop::Bad),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

fn body(framing: Framing, input: &[u8]) -> Read<(Vec<u8>, &[u8])> {
    match framing {
        Framing::Length(length) => {
            let length = usize::try_from(length).map_err(|_| Stop::Short)?;
            let (body, rest) = input.split_at_checked(length).ok_or(Stop::Short)?;
            Ok((body.to_vec(), rest))
        }
        Framing::Chunked => chunked(input),
    }
}

/// Reads a chunked body (RFC 9112 §7.1). A line that cannot become a chunk is bad before it ends.
fn chunked(mut input: &[u8]) -> Read<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let digits = input.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        match input.get(digits) {
            None if digits <= 15 => return Err(Stop::Short),
            Some(b';' | b'\r') if (1..=15).contains(&digits) => {}
            _ => return Err(Stop::Bad),
        }
        let size = std::str::from_utf8(&input[..digits]).map_err(|_| Stop::Bad)?;
        let size = usize::from_str_radix(size, 16).map_err(|_| Stop::Bad)?;
        let (extension, rest) = size_line(&input[digits..])?;
        if !extension.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
            return Err(Stop::Bad);
        }
        if size == 0 {
            return trailers(rest).map(|rest| (body, rest));
        }
        let (data, rest) = rest.split_at_checked(size).ok_or(Stop::Short)?;
        body.extend_from_slice(data);
        input = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Err(Stop::Short),
            _ => return Err(Stop::Bad),
        };
    }
}

/// The rest of a chunk's first line. A control character is bad before the line ends.
fn size_line(input: &[u8]) -> Read<(&[u8], &[u8])> {
    let end = input.iter().position(|byte| !matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
    let Some(end) = end else { return Err(Stop::Short) };
    match &input[end..] {
        [b'\r', b'\n', rest @ ..] => Ok((&input[..end], rest)),
        [b'\r'] => Err(Stop::Short),
        _ => Err(Stop::Bad),
    }
}

fn trailers(mut input: &[u8]) -> Read<&[u8]> {
    loop {
        match input {
            [b'\r', b'\n', rest @ ..] => return Ok(rest),
            [] | [b'\r'] => return Err(Stop::Short),
            [b'\r', ..] => return Err(Stop::Bad),
            _ => {}
        }
        let name = input.iter().take_while(|byte| is_token(&[**byte])).count();
        match input.get(name) {
            None => return Err(Stop::Short),
            Some(b':') if name > 0 => {}
            Some(_) => return Err(Stop::Bad),
        }
        let (_, rest) = size_line(&input[name..])?;
        input = rest;
    }
}

/// Whether the bytes are a token (RFC 9110 §5.6.2).
fn is_token(bytes: &[u8]) -> bool {
    let tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(tchar)
}
