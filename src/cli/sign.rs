//! `tillside sign`: signs one request and shows how, so that an integrator can find the first
//! byte that differs. Sends nothing and needs no service.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::{Method, Uri};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::http::signature::{Signed, Unsigned, sign};

/// Sign a request as a terminal does, and show how the signature comes about.
///
/// Prints the headers to send. With --explain it prints each step as well: the digest of
/// the body, the text that is signed line by line, its HMAC, and a curl command that sends
/// the very same request. Compare with your own signer from the top: the first line that
/// differs is the mistake.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside sign --demo .tillside/demo.json --url http://127.0.0.1:8080/v1/swipes \\
      --body swipe.json --explain
  tillside sign --keyid 0367/03.1 --secret \"$SECRET\" --method GET \\
      --url https://pos.example.com/v1/cards/2990000000019")]
pub struct SignArgs {
    /// The method; without it POST with a body, else GET.
    #[arg(long)]
    method: Option<String>,
    /// The whole address, encoded as it will be sent.
    #[arg(long)]
    url: String,
    /// A file with the JSON body; - reads the standard input.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The key id: store/workstation.number, such as 0367/03.1.
    #[arg(long, requires = "secret", required_unless_present = "demo")]
    keyid: Option<String>,
    /// The terminal's secret in base64.
    #[arg(long, requires = "keyid", value_name = "BASE64")]
    secret: Option<String>,
    /// Take key id and secret of the first terminal in a demo.json.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keyid", "secret"])]
    demo: Option<PathBuf>,
    /// When the signature is made, in seconds after 1970; without it now.
    #[arg(long, value_name = "SECONDS")]
    created: Option<i64>,
    /// Show every step.
    #[arg(long)]
    explain: bool,
    /// Print JSON for programs, with every step.
    #[arg(long)]
    json: bool,
}

struct Credential {
    keyid: String,
    secret: Zeroizing<Vec<u8>>,
}

/// What `demo.json` says about a terminal.
#[derive(Deserialize)]
struct DemoTerminal {
    keyid: String,
    secret_base64: String,
}

#[derive(Deserialize)]
struct Demo {
    terminals: Vec<DemoTerminal>,
}

/// Signs and prints.
///
/// # Errors
/// When a file cannot be read, the address, key id or secret is not one, or nobody reads
/// what is printed.
pub fn run(args: &SignArgs) -> Result<(), Box<dyn Error>> {
    let Credential { keyid, secret } = credential(args)?;
    let body = match &args.body {
        Some(path) => read(path)?,
        None => Vec::new(),
    };
    let now_s = args.created.unwrap_or_else(|| Timestamp::now().as_second());
    let text = page(args, &keyid, &secret, &body, now_s)?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn credential(args: &SignArgs) -> Result<Credential, Box<dyn Error>> {
    let (keyid, secret) = match (&args.demo, &args.keyid, &args.secret) {
        (Some(path), ..) => {
            let demo: Demo = serde_json::from_slice(&read(path)?)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let terminal = demo.terminals.into_iter().next();
            let terminal =
                terminal.ok_or_else(|| format!("{}: no terminal in it", path.display()))?;
            (terminal.keyid, terminal.secret_base64)
        }
        (None, Some(keyid), Some(secret)) => (keyid.clone(), secret.clone()),
        _ => return Err("--keyid and --secret, or --demo, are needed".into()),
    };
    if keyid.is_empty() || !keyid.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("the key id must be printable ASCII, such as 0367/03.1".into());
    }
    let secret = STANDARD.decode(secret.trim()).map_err(|_| "the secret is not base64")?;
    Ok(Credential { keyid, secret: Zeroizing::new(secret) })
}

fn read(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn page(
    args: &SignArgs,
    keyid: &str,
    secret: &[u8],
    body: &[u8],
    created_s: i64,
) -> Result<String, Box<dyn Error>> {
    let url: Uri = args.url.parse().map_err(|_| "the URL cannot be read")?;
    let default_port = match url.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err("the URL must begin with http:// or https://".into()),
    };
    // As a client writes the Host header: no user, and no port where it goes without saying.
    let authority = match (url.host().unwrap_or_default(), url.port_u16()) {
        (host, Some(port)) if port != default_port => format!("{host}:{port}"),
        (host, _) => host.to_owned(),
    };
    let default = if args.body.is_some() { "POST" } else { "GET" };
    let method: Method = args
        .method
        .as_deref()
        .unwrap_or(default)
        .to_ascii_uppercase()
        .parse()
        .map_err(|_| "the method is not one")?;
    let unsigned = Unsigned {
        method: method.as_str(),
        authority: &authority,
        path: url.path(),
        query: url.query(),
        body,
    };
    let signed = sign(&unsigned, keyid, secret, created_s);
    let headers: Vec<(String, String)> = signed
        .headers()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    if args.json {
        let Signed { content_digest, base, mac, .. } = &signed;
        let lines: Vec<&str> = base.lines().collect();
        let headers: serde_json::Map<_, _> =
            headers.into_iter().map(|(name, value)| (name, value.into())).collect();
        let whole = json!({ "method": method.as_str(), "url": args.url, "content_digest": content_digest,
            "signature_base": lines, "mac": mac, "headers": headers });
        return Ok(format!("{whole:#}\n"));
    }
    let mut text = String::new();
    if !args.explain {
        for (name, value) in headers {
            writeln!(text, "{name}: {value}")?;
        }
        return Ok(text);
    }
    match &signed.content_digest {
        Some(digest) => {
            writeln!(
                text,
                "1. Content-Digest of the body ({} bytes)\n\n   {digest}\n",
                body.len()
            )?;
        }
        None => writeln!(text, "1. No body, so no Content-Digest\n")?,
    }
    writeln!(text, "2. What is signed: these lines, joined by LF, none after the last\n")?;
    for line in signed.base.lines() {
        writeln!(text, "   {line}")?;
    }
    writeln!(text, "\n3. HMAC-SHA256 of it with the secret ({} bytes), in base64\n", secret.len())?;
    writeln!(text, "   {}\n\n4. The headers to send\n", signed.mac)?;
    for (name, value) in &headers {
        writeln!(text, "   {name}: {value}")?;
    }
    writeln!(text, "\n5. The same request by curl (within five minutes)\n")?;
    write!(text, "   curl -i -X {} {}", quoted(method.as_str()), quoted(&args.url))?;
    for (name, value) in &headers {
        write!(text, " \\\n     -H {}", quoted(&format!("{name}: {value}")))?;
    }
    if let Some(path) = &args.body {
        write!(text, " \\\n     --data-binary {}", quoted(&format!("@{}", path.display())))?;
    }
    text.push('\n');
    Ok(text)
}

/// As one word of a shell, whatever stands in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> SignArgs {
        SignArgs {
            method: None,
            url: url.to_owned(),
            body: Some("-".into()),
            keyid: None,
            secret: None,
            demo: None,
            created: None,
            explain: true,
            json: false,
        }
    }

    #[test]
    fn the_explanation_has_every_step() {
        let args = args("https://Pos.example.com:443/v1/swipes?a='b'");
        let text = page(&args, "0367/03.1", &[7; 32], b"{}", 1_700_000_000).expect("good values");
        insta::assert_snapshot!(text, @r#"
        1. Content-Digest of the body (2 bytes)

           sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:

        2. What is signed: these lines, joined by LF, none after the last

           "@method": POST
           "@authority": pos.example.com
           "@path": /v1/swipes
           "@query": ?a='b'
           "content-type": application/json
           "content-digest": sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:
           "@signature-params": ("@method" "@authority" "@path" "@query" "content-type" "content-digest");created=1700000000;keyid="0367/03.1";alg="hmac-sha256"

        3. HMAC-SHA256 of it with the secret (32 bytes), in base64

           yygEURkWYG1iELLKi8Xq8MPz/RMyp2BjiByLh5Kcy8Y=

        4. The headers to send

           content-type: application/json
           content-digest: sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:
           signature-input: sig1=("@method" "@authority" "@path" "@query" "content-type" "content-digest");created=1700000000;keyid="0367/03.1";alg="hmac-sha256"
           signature: sig1=:yygEURkWYG1iELLKi8Xq8MPz/RMyp2BjiByLh5Kcy8Y=:

        5. The same request by curl (within five minutes)

           curl -i -X 'POST' 'https://Pos.example.com:443/v1/swipes?a='\''b'\''' \
             -H 'content-type: application/json' \
             -H 'content-digest: sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:' \
             -H 'signature-input: sig1=("@method" "@authority" "@path" "@query" "content-type" "content-digest");created=1700000000;keyid="0367/03.1";alg="hmac-sha256"' \
             -H 'signature: sig1=:yygEURkWYG1iELLKi8Xq8MPz/RMyp2BjiByLh5Kcy8Y=:' \
             --data-binary '@-'
        "#);
    }

    #[test]
    fn programs_get_the_same_in_json() {
        let args = SignArgs { json: true, ..args("http://pos/v1/swipes") };
        let text = page(&args, "0367/03.1", &[7; 32], b"{}", 1).expect("good values");
        let whole: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(whole["signature_base"][0], "\"@method\": POST");
        let mac = whole["mac"].as_str().expect("text");
        assert_eq!(whole["headers"]["signature"], format!("sig1=:{mac}:"));
    }

    #[test]
    fn mistakes_are_named() {
        let bare = args("pos.example.com/v1/swipes");
        assert!(page(&bare, "k", &[7; 32], b"", 0).is_err());
        let secret = SignArgs {
            keyid: Some("0367/03.1".into()),
            secret: Some("not base64!".into()),
            ..args("http://pos/")
        };
        let error = credential(&secret).err().expect("it is not base64");
        assert_eq!(error.to_string(), "the secret is not base64");
    }
}
