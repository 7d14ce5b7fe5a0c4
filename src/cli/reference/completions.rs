//! `packaging/completions/`: what bash, zsh and fish offer for an option and its value.

use super::{NOTICE, default, summary, value};
use crate::cli::options::{OPTIONS, Opt, Takes};
use crate::config::{Resource, Signal};

/// The completions of an option's value.
enum Values {
    /// These words; empty if a value can be anything.
    Words(Vec<String>),
    Directories,
    Users,
    Groups,
    Variables,
}

fn values(option: &Opt) -> Values {
    let words = |words: &[&str]| Values::Words(words.iter().map(|it| it.to_string()).collect());
    match value(option) {
        "DIR" => Values::Directories,
        "NAME|UID" => Values::Users,
        "NAME|GID" => Values::Groups,
        "LIST" if option.name() == "passenv" => Values::Variables,
        "ADDR" => words(&["127.0.0.1", "0.0.0.0", "localhost"]),
        "NAME" => words(&Signal::NAMES.map(|(name, _)| name)),
        "NAME:VALUE" => Values::Words(Resource::NAMES.map(|(name, _)| format!("{name}:")).into()),
        value => {
            let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
            let written = value.split('|').filter(is_word);
            // `none` and `off` are written as a default only.
            let off = default(option).filter(|word| matches!(*word, "none" | "off"));
            words(
                &written
                    .chain(off)
                    .filter(|word| !word.is_empty())
                    .collect::<Vec<_>>(),
            )
        }
    }
}

/// Whether an option may be given more than once to some effect.
fn is_repeatable(option: &Opt) -> bool {
    summary(option).contains("repeatable") || value(option).starts_with("LIST")
}

fn with_value(separator: &str) -> String {
    let options = OPTIONS
        .iter()
        .filter(|option| option.takes() == Takes::Value);
    let names: Vec<_> = options
        .map(|option| format!("--{}", option.name()))
        .collect();
    names.join(separator)
}

pub(super) fn bash() -> String {
    let mut offers = Vec::new();
    let mut cases = String::new();
    for option in &OPTIONS {
        let name = option.name();
        offers.push(match option.takes() {
            Takes::Nothing => format!("--{name}"),
            Takes::Value => format!("--{name}="),
            Takes::Either => format!("--{name} --{name}={}", value(option)),
        });
        let action = match values(option) {
            Values::Words(words) if words.is_empty() => continue,
            Values::Words(words) => format!("-W '{}'", words.join(" ")),
            Values::Directories => "-d".to_owned(),
            Values::Users => "-u".to_owned(),
            Values::Groups => "-g".to_owned(),
            Values::Variables => "-e".to_owned(),
        };
        cases += &format!("        --{name}) offer=({action}) ;;\n");
    }
    BASH.replace("NOTICE", NOTICE)
        .replace("WITH_VALUE", &with_value(" | "))
        .replace("CASES\n", &cases)
        .replace("OPTIONS", &offers.join(" "))
}

const BASH: &str = r#"# bash completion for wspipe
# NOTICE

_wspipe() {
    local line=$COMP_LINE word words=() starts=() i

    # Bash divides words at = and : too: join the parts that no blank separates.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i > 0)) && [[ $line != [[:blank:]]* ]]; then
            words[-1]+=$word
        else
            words+=("$word")
            starts+=("$i")
        fi
        line=${line#"${line%%[![:blank:]]*}"}
        line=${line#"$word"}
    done

    # Read the words before the cursor: where COMMAND begins, and which option needs a value.
    local last=$((${#words[@]} - 1)) option='' command=''
    for ((i = 1; i < last; i++)); do
        word=${words[i]}
        if [[ -n $option ]]; then
            option=''
            continue
        fi
        case $word in
            --) command=$((i + 1)) ; break ;;
            WITH_VALUE) option=$word ;;
            -*) ;;
            *) command=$i ; break ;;
        esac
    done

    local current=${words[last]} prefix='' offer=()
    COMPREPLY=()
    if [[ -z $command && -z $option && $current == --*=* ]]; then
        option=${current%%=*}
        current=${current#*=}
        [[ $COMP_WORDBREAKS == *=* ]] || prefix=$option=
    elif [[ -z $command && -z $option && $current != -* ]]; then
        command=$last
    fi

    if [[ -n $command ]]; then
        if ((last == command)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$current")
        elif declare -F _comp_command_offset >/dev/null; then
            _comp_command_offset "${starts[command]}"
        elif declare -F _command_offset >/dev/null; then
            _command_offset "${starts[command]}"
        fi
        return
    fi

    case $option in
        '') offer=(-W 'OPTIONS') ;;
CASES
        *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -P "$prefix" "${offer[@]}" -- "$current")
    if [[ ${offer[0]} == -d ]]; then
        compopt -o filenames 2>/dev/null
    elif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -o bashdefault -o default -F _wspipe wspipe
"#;

pub(super) fn zsh() -> String {
    let mut script = format!("#compdef wspipe\n# {NOTICE}\n\n_arguments -S -A '-*' \\\n");
    for option in &OPTIONS {
        let (name, value) = (option.name(), value(option).replace(':', "\\:"));
        let repeat = if is_repeatable(option) { "*" } else { "" };
        let action = match values(option) {
            Values::Words(words) if words.is_empty() => " ".to_owned(),
            // More of the value follows a colon, so no blank may.
            Values::Words(words) if words[0].ends_with(':') => {
                let words = words.join(" ").replace(':', "\\:");
                format!("{{compadd -S \"\" {words}}}")
            }
            Values::Words(words) => format!("({})", words.join(" ")),
            Values::Directories => "_files -/".to_owned(),
            Values::Users => "_users".to_owned(),
            Values::Groups => "_groups".to_owned(),
            Values::Variables => "_parameters -g '*export*'".to_owned(),
        };
        let summary = summary(option).replace('\\', "\\\\");
        let summary = summary.replace('[', "\\[").replace(']', "\\]");
        let spec = match option.takes() {
            Takes::Nothing => format!("{repeat}--{name}[{summary}]"),
            Takes::Value => format!("{repeat}--{name}=[{summary}]:{value}:{action}"),
            Takes::Either => format!("{repeat}--{name}=-[{summary}]::{value}:{action}"),
        };
        script += &format!("    '{}' \\\n", spec.replace('\'', "'\\''"));
    }
    script += "    '(-)1:COMMAND:_command_names -e' \\\n    '*::ARGS:_normal'\n";
    script
}

pub(super) fn fish() -> String {
    let mut script = FISH
        .replace("NOTICE", NOTICE)
        .replace("WITH_VALUE", &with_value(" "));
    for option in &OPTIONS {
        let action = match values(option) {
            Values::Words(words) => words.join(" "),
            Values::Directories => "(__fish_complete_directories (commandline -ct))".to_owned(),
            Values::Users => "(__fish_complete_users)".to_owned(),
            Values::Groups => "(__fish_complete_groups)".to_owned(),
            Values::Variables => "(set -nx)".to_owned(),
        };
        let takes = match option.takes() {
            Takes::Nothing => "-f".to_owned(),
            Takes::Value if action.is_empty() => "-x".to_owned(),
            Takes::Value => format!("-x -a '{action}'"),
            Takes::Either => format!("-f -a '{action}'"),
        };
        let summary = summary(option).replace('\\', "\\\\").replace('\'', "\\'");
        script += &format!(
            "complete -c wspipe -n __wspipe_before_command -l {} {takes} -d '{summary}'\n",
            option.name()
        );
    }
    script
}

const FISH: &str = r#"# fish completion for wspipe
# NOTICE

set -g __wspipe_with_value WITH_VALUE

# Whether the words before the cursor are options and their values only.
function __wspipe_before_command
    set -l is_value 0
    for word in (commandline -opc)[2..-1]
        if test $is_value = 1
            set is_value 0
        else if contains -- $word $__wspipe_with_value
            set is_value 1
        else if test "$word" = --; or not string match -q -- '-*' $word
            return 1
        end
    end
end

# COMMAND and its own arguments. The first dash keeps the function from reading the names as its
# own options.
complete -c wspipe -f -a '(__fish_complete_subcommand - $__wspipe_with_value)'
"#;
