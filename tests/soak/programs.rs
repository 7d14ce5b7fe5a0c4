//! What the commands do, written for a shell, in each of the framings.

use std::fs;

use crate::support::{TempDir, write_file};

/// How messages come out of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// There is none: every message comes back as it was sent.
    Echo,
    /// As lines.
    Lines,
    /// As lines within JSON, which also says if they are of stdout or stderr.
    Json,
    /// With a head of five bytes before each.
    Length,
}

/// `/numbers` prints the numbers up to this one, `/flood` does so again and again.
pub(crate) const LAST_NUMBER: u32 = 10_000;

/// The paths whose programs give back what they are sent, and what they say before.
pub(crate) const ECHOES: [(&str, Option<&str>); 4] = [
    ("/cat", None),
    ("/late", None),
    ("/fork", Some("forked")),
    ("/torn", Some("ready")),
];

/// The paths whose programs end, what they say before that, and the code that tells how they ended.
pub(crate) const ENDS: [(&str, &[&str], u16); 6] = [
    ("/fail", &["going"], 4003),
    ("/crash", &["going"], 4256 + 11),
    ("/orphan", &["going"], 4005),
    ("/deaf", &["ready", "done"], 4006),
    ("/mute", &["ready"], 4007),
    ("/quick", &[], 1000),
];

/// The same of those whose output breaks the format of `--framing=length`.
pub(crate) const BREAKS: [(&str, &[&str], u16); 2] =
    [("/broken", &[], 1011), ("/cut", &["going"], 1011)];

/// Paths whose programs do nothing for their clients.
pub(crate) const OTHERS: [&str; 3] = ["/sleep", "/stubborn", "/flood"];

/// The command of the servers that share one. A message that is no order is given back.
const SHARED: &str = r#"
ulimit -c 0
while IFS= read -r line; do
  case $line in
    'order exit') exit 3 ;;
    'order crash') kill -SEGV $$ ;;
    'order fork') sleep 1000 & ;;
    'order orphan') (trap '' INT TERM; sleep 1000) & ;;
    'order ignore') trap '' INT TERM ;;
    'order numbers') cat NUMBERS ;;
    'order pause') sleep 0.3 ;;
    *) printf '%s\n' "$line" ;;
  esac
done
"#;

impl Speech {
    /// What a command prints so that the client gets `text`.
    fn printed(self, text: &str) -> Vec<u8> {
        match self {
            Speech::Length => {
                let mut bytes = vec![1];
                bytes.extend((text.len() as u32).to_be_bytes());
                bytes.extend(text.as_bytes());
                bytes
            }
            Speech::Echo | Speech::Lines | Speech::Json => format!("{text}\n").into_bytes(),
        }
    }

    /// The same as a command of the shell.
    fn say(self, text: &str) -> String {
        let bytes = self.printed(text);
        let digits: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
        format!("printf '{digits}'")
    }

    fn programs(self, numbers: &str) -> Vec<(&'static str, String)> {
        let (going, ready, done) = (self.say("going"), self.say("ready"), self.say("done"));
        let forked = self.say("forked");
        vec![
            ("cat", "exec cat".into()),
            ("late", "sleep 0.2; exec cat".into()),
            (
                "fork",
                format!("sleep 1000 & (sleep 1000 & sleep 1000) & {forked}; exec cat"),
            ),
            // What it complains of is long, and nobody of those who listen to stdout hears it.
            (
                "torn",
                match self {
                    Speech::Json => format!("{ready}; cat {numbers} >&2; exec cat"),
                    _ => format!("{ready}; exec cat"),
                },
            ),
            ("fail", format!("{going}; exit 3")),
            ("crash", format!("ulimit -c 0; {going}; kill -SEGV $$")),
            // It holds stdout, and no signal but the last ends it.
            (
                "orphan",
                format!("(trap '' INT TERM; sleep 1000) & {going}; exit 5"),
            ),
            (
                "deaf",
                format!("exec <&-; {ready}; sleep 0.2; {done}; exit 6"),
            ),
            ("mute", format!("{ready}; exec >&- 2>&-; read line; exit 7")),
            ("quick", "exit 0".into()),
            ("broken", "printf x; exec cat".into()),
            (
                "cut",
                format!("{going}; printf '\\001\\000\\000\\000\\011cut'"),
            ),
            ("numbers", format!("exec cat {numbers}")),
            ("flood", format!("while cat {numbers}; do :; done")),
            ("sleep", "exec sleep 1000".into()),
            (
                "stubborn",
                format!("trap '' INT TERM HUP; {ready}; while :; do sleep 0.2; done"),
            ),
        ]
    }
}

/// Writes the programs into `folder` and returns what names them on the command line.
pub(crate) fn install(folder: &TempDir, speech: Speech, shared: bool) -> Vec<String> {
    let numbers: Vec<u8> = (1..=LAST_NUMBER)
        .flat_map(|number| speech.printed(&number.to_string()))
        .collect();
    fs::write(folder.path("numbers"), numbers).expect("the numbers");
    let numbers = folder.text("numbers");
    if shared {
        let script = SHARED.replace("NUMBERS", &numbers);
        return ["--", "sh", "-c", &script].map(String::from).into();
    }
    fs::create_dir(folder.path("programs")).expect("a directory");
    for (name, script) in speech.programs(&numbers) {
        let path = folder.path("programs").join(name);
        write_file(&path, &format!("#!/bin/sh\n{script}\n"), 0o755);
    }
    vec![format!("--dir={}", folder.text("programs"))]
}
