//! What `didtail config init` asks of whoever sits at the terminal, and takes without
//! asking where nobody does. A wrong answer is asked for again; a wrong option ends it.

use std::io::{BufRead, IsTerminal, Write};

use secrecy::SecretString;

use super::account;
use super::init::Init;
use super::machine::{self, Vicidial};
use crate::cli::failure::Failure;
use crate::config::{Overrides, SourceUrl, Success, read_start_at, read_success};
use crate::vicidial::Zone;

/// What is to be written.
pub(super) struct Answers {
    pub(super) url: SourceUrl,
    /// The password that the address has in it.
    pub(super) in_url: Option<SecretString>,
    pub(super) zone: String,
    pub(super) start_at: String,
    pub(super) success: Success,
}

/// How calls are judged where nobody says otherwise.
const SALE_FLAG: &str = "vicidial-sale-flag";

/// What the options, this machine and the operator say.
///
/// # Errors
/// When nobody is asked and something is missing or wrong, and when the one who is
/// asked goes away.
pub(super) fn answers(
    overrides: &Overrides,
    arguments: &Init,
    vicidial: Option<&Vicidial>,
) -> Result<Answers, Failure> {
    let asks = !arguments.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let (mut input, mut screen) = (std::io::stdin().lock(), std::io::stderr());
    let mut dialog = asks.then_some(Dialog {
        input: &mut input,
        screen: &mut screen,
    });
    asked(dialog.as_mut(), overrides, arguments, vicidial)
}

fn asked(
    mut dialog: Option<&mut Dialog<'_>>,
    overrides: &Overrides,
    arguments: &Init,
    vicidial: Option<&Vicidial>,
) -> Result<Answers, Failure> {
    let environment = |name: &str| overrides.environment.get(name).cloned();
    let found = overrides
        .source_url
        .clone()
        .or_else(|| environment("DIDTAIL_SOURCE_URL"))
        .or_else(|| vicidial.and_then(address));
    let (url, in_url) = take(
        dialog.as_deref_mut(),
        "Address of VICIdial's database, mysql://USER@HOST:PORT/DATABASE",
        found.as_deref(),
        |text| read_url(text, vicidial),
        || {
            Failure::operator(
                format!(
                    "where VICIdial's database is cannot be told: {} does not say it",
                    arguments.astguiclient.display()
                ),
                "--source-url mysql://didtail@HOST:3306/asterisk",
            )
        },
    )?;
    let found = arguments.time_zone.clone().or_else(machine::time_zone);
    let zone = take(
        dialog.as_deref_mut(),
        match found.as_deref() {
            Some("UTC" | "Etc/UTC") => {
                "Time zone of the dialers (this machine shows UTC, as few dialers do)"
            }
            _ => "Time zone of the dialers",
        },
        found.as_deref(),
        read_zone,
        || {
            Failure::operator(
                "the dialers' time zone cannot be told from this machine's clock",
                "--time-zone America/Chicago",
            )
        },
    )?;
    let found = overrides
        .start_at
        .clone()
        .or_else(|| environment("DIDTAIL_START_AT"))
        .unwrap_or_else(|| "latest".to_owned());
    let none = || Failure::operator("there was no answer", "--yes");
    let start_at = take(
        dialog.as_deref_mut(),
        "Count from now on (latest), or also the calls of the last days (e.g. backfill:30d)",
        Some(&found),
        |text| match read_start_at(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(what) => Err(Failure::operator(what, "--start-at backfill:30d")),
        },
        none,
    )?;
    let success = take(
        dialog,
        "A call is a success by VICIdial's sale flags (vicidial-sale-flag), or by these \
         statuses (e.g. SALE,XFER)",
        Some(SALE_FLAG),
        |text| read_success(text).map_err(|what| Failure::operator(what, "e.g. SALE,XFER")),
        none,
    )?;
    Ok(Answers {
        url,
        in_url,
        zone,
        start_at,
        success,
    })
}

/// One answer: asked for until it is one, or what was found where nobody is asked.
fn take<T>(
    dialog: Option<&mut Dialog<'_>>,
    question: &str,
    found: Option<&str>,
    read: impl Fn(&str) -> Result<T, Failure>,
    none: impl Fn() -> Failure,
) -> Result<T, Failure> {
    match (dialog, found) {
        (Some(dialog), found) => dialog.ask(question, found, read),
        (None, Some(found)) => read(found),
        (None, None) => Err(none()),
    }
}

fn read_url(
    text: &str,
    vicidial: Option<&Vicidial>,
) -> Result<(SourceUrl, Option<SecretString>), Failure> {
    let (url, in_url) = SourceUrl::parse(text).map_err(|what| {
        Failure::operator(
            format!("the address is none: {what}"),
            "--source-url mysql://didtail@HOST:3306/asterisk",
        )
    })?;
    account::refuse_vicidials_own(&url, vicidial)?;
    Ok((url, in_url))
}

fn read_zone(text: &str) -> Result<String, Failure> {
    match Zone::named(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Failure::operator(
            format!("`{text}` is no time zone"),
            "an IANA name such as America/Chicago",
        )),
    }
}

/// The address that VICIdial itself uses, with didtail's own user.
fn address(vicidial: &Vicidial) -> Option<String> {
    let server = vicidial.server.as_deref()?;
    let port = vicidial.port.unwrap_or(3306);
    let database = vicidial.database.as_deref().unwrap_or("asterisk");
    let host = match server.contains(':') {
        true => format!("[{server}]"),
        false => server.to_owned(),
    };
    Some(format!("mysql://didtail@{host}:{port}/{database}"))
}

/// The operator at the terminal.
struct Dialog<'a> {
    input: &'a mut dyn BufRead,
    screen: &'a mut dyn Write,
}

impl Dialog<'_> {
    /// Asks until the answer is one. What was `found` is the default, if it is one.
    fn ask<T>(
        &mut self,
        question: &str,
        found: Option<&str>,
        read: impl Fn(&str) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let found = found.filter(|found| read(found).is_ok());
        loop {
            match found {
                Some(found) => write!(self.screen, "{question} [{found}]: ")?,
                None => write!(self.screen, "{question}: ")?,
            }
            self.screen.flush()?;
            let mut answer = String::new();
            if self.input.read_line(&mut answer)? == 0 {
                return Err(Failure::operator(
                    "there was no answer, and nothing was written",
                    "--yes takes what this machine and the options say",
                ));
            }
            let answer = match (answer.trim(), found) {
                ("", Some(found)) => found,
                ("", None) => continue,
                (answer, _) => answer,
            };
            match read(answer) {
                Ok(answer) => return Ok(answer),
                Err(wrong) => self.screen.write_all(wrong.text().as_bytes())?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn url(text: &str) -> SourceUrl {
        SourceUrl::parse(text).expect("an address").0
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        init: Init,
    }

    /// What is answered to what is typed, and what was on the screen.
    fn typed(lines: &str) -> (Result<Answers, Failure>, String) {
        let arguments = ["init", "--time-zone", "UTC"];
        let init = Line::parse_from(arguments).init;
        let mut screen = Vec::new();
        let answers = asked(
            Some(&mut Dialog {
                input: &mut lines.as_bytes(),
                screen: &mut screen,
            }),
            &Overrides::default(),
            &init,
            None,
        );
        (answers, String::from_utf8(screen).expect("UTF-8"))
    }

    #[test]
    fn what_is_mistyped_is_asked_for_again() {
        let (answers, screen) = typed(
            "db\nmysql://cron@db/asterisk\nmysql://didtail@db/asterisk\n\
             America/Chicgo\nAmerica/Chicago\nbackfill\nbackfill:7d\nTOOLONG\nSALE, XFER\n",
        );
        let answers = answers.unwrap_or_else(|failure| panic!("{}", failure.text()));
        assert_eq!(answers.url.host, "db");
        assert_eq!(answers.zone, "America/Chicago");
        assert_eq!(answers.start_at, "backfill:7d");
        let own = ["SALE", "XFER"].map(str::to_owned);
        assert_eq!(answers.success, Success::Set(own.into()));
        for said in [
            "error: the address is none",
            "error: `cron` is VICIdial's own database user",
            "error: `America/Chicgo` is no time zone\nhint: an IANA name",
            "error: expected `latest`",
            "error: `TOOLONG` is no status",
        ] {
            assert_eq!(screen.matches(said).count(), 1, "{said}: {screen}");
        }
    }

    #[test]
    fn an_empty_answer_takes_what_was_found_and_none_ends_it() {
        let (answers, screen) = typed("\nmysql://didtail@db/asterisk\n\n\n\n");
        let answers = answers.unwrap_or_else(|failure| panic!("{}", failure.text()));
        assert_eq!(
            (answers.zone.as_str(), answers.start_at.as_str()),
            ("UTC", "latest")
        );
        assert_eq!(answers.success, Success::VicidialSaleFlag);
        assert!(!screen.contains("error"), "{screen}");
        let (answers, _) = typed("mysql://didtail@db/asterisk\n");
        let failure = answers.err().expect("an end").text();
        assert!(failure.contains("nothing was written"), "{failure}");
    }

    #[test]
    fn the_address_is_vicidials_with_a_user_of_its_own() {
        let vicidial = |server: &str| Vicidial {
            server: Some(server.to_owned()),
            user: Some("cron".to_owned()),
            ..Vicidial::default()
        };
        let told = address(&vicidial("10.0.0.9")).expect("an address");
        assert_eq!(told, "mysql://didtail@10.0.0.9:3306/asterisk");
        let told = address(&vicidial("fd00::9")).expect("an address");
        assert_eq!(url(&told).host, "fd00::9");
        assert_eq!(address(&Vicidial::default()), None);
    }
}
