//! The commands of the soak test: shell scripts, in each framing.

use std::fs;

use crate::support::{TempDir, write_file};

/// How a command frames its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// No command: the server echoes each message.
    Echo,
    /// Lines.
    Lines,
    /// Lines that arrive as JSON, which names stdout or stderr.
    Json,
    /// A head of five bytes before each message.
    Length,
}

/// `/numbers` prints the numbers up to this one, `/flood` prints them again and again.
pub(crate) const LAST_NUMBER: u32 = 10_000;

/// The paths of programs that echo, and what they print first.
pub(crate) const ECHOES: [(&str, Option<&str>); 4] = [
    ("/cat", None),
    ("/late", None),
    ("/fork", Some("forked")),
    ("/torn", Some("ready")),
];

/// The paths of programs that exit, what they print before, and the close code.
pub(crate) const EXITS: [(&str, &[&str], u16); 6] = [
    ("/fail", &["going"], 4003),
    ("/crash", &["going"], 4256 + 11),
    ("/orphan", &["going"], 4005),
    ("/deaf", &["ready", "done"], 4006),
    ("/mute", &["ready"], 4007),
    ("/quick", &[], 1000),
];

/// The same for output that violates `--framing=length`.
pub(crate) const INVALID: [(&str, &[&str], u16); 2] =
    [("/broken", &[], 1011), ("/cut", &["going"], 1011)];

/// Paths of programs that ignore their clients.
pub(crate) const OTHERS: [&str; 3] = ["/sleep", "/stubborn", "/flood"];

/// The command of the servers that share one. It echoes each message that is not an order.
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

impl Format {
    /// The bytes that a command prints so that its client gets `text`.
    fn printed(self, text: &str) -> Vec<u8> {
        match self {
            Format::Length => {
                let mut bytes = vec![1];
                bytes.extend((text.len() as u32).to_be_bytes());
                bytes.extend(text.as_bytes());
                bytes
            }
            Format::Echo | Format::Lines | Format::Json => format!("{text}\n").into_bytes(),
        }
    }

    /// The shell command that prints them.
    fn print_command(self, text: &str) -> String {
        let bytes = self.printed(text);
        let digits: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
        format!("printf '{digits}'")
    }

    fn programs(self, numbers: &str) -> Vec<(&'static str, String)> {
        let (going, ready, done) = (
            self.print_command("going"),
            self.print_command("ready"),
            self.print_command("done"),
        );
        let forked = self.print_command("forked");
        vec![
            ("cat", "exec cat".into()),
            ("late", "sleep 0.2; exec cat".into()),
            (
                "fork",
                format!("sleep 1000 & (sleep 1000 & sleep 1000) & {forked}; exec cat"),
            ),
            // Its long stderr is not for clients that read stdout.
            (
                "torn",
                match self {
                    Format::Json => format!("{ready}; cat {numbers} >&2; exec cat"),
                    _ => format!("{ready}; exec cat"),
                },
            ),
            ("fail", format!("{going}; exit 3")),
            ("crash", format!("ulimit -c 0; {going}; kill -SEGV $$")),
            // It holds stdout, and only SIGKILL terminates it.
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

/// Writes the programs into `folder`. Returns the arguments that name them.
pub(crate) fn install(folder: &TempDir, format: Format, shared: bool) -> Vec<String> {
    let numbers: Vec<u8> = (1..=LAST_NUMBER)
        .flat_map(|number| format.printed(&number.to_string()))
        .collect();
    fs::write(folder.path("numbers"), numbers).expect("write the numbers");
    let numbers = folder.text("numbers");
    if shared {
        let script = SHARED.replace("NUMBERS", &numbers);
        return ["--", "sh", "-c", &script].map(String::from).into();
    }
    fs::create_dir(folder.path("programs")).expect("create a directory");
    for (name, script) in format.programs(&numbers) {
        let path = folder.path("programs").join(name);
        write_file(&path, &format!("#!/bin/sh\n{script}\n"), 0o755);
    }
    vec![format!("--dir={}", folder.text("programs"))]
}
