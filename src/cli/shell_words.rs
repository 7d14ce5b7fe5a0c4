//! Splits a command that is written as one text, as in `--route=/log=tail -f "my file"`.

/// Splits a text into words by a shell's rules for quotes, and no other rules of a shell:
///
/// - blanks, tabs and line ends separate words;
/// - between single quotes, every character stands for itself;
/// - between double quotes too, but a backslash escapes a `"`, `\`, `$` or `` ` `` after it, and
///   removes a line end after it;
/// - elsewhere, a backslash escapes any character after it, and removes a line end after it;
/// - empty quotes are an empty word, or add nothing to a longer word.
///
/// Nothing is expanded: `$HOME`, `*`, `~`, `|` and `#` are plain characters. A command that needs a
/// shell names one: `sh -c '...'`.
///
/// # Errors
/// A quote is not closed, or nothing follows the last backslash.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => single_quoted(&mut rest, word.get_or_insert_default())?,
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("nothing follows the last backslash: write \\\\ for one".into()),
            },
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    let (quoted, behind) = rest
        .as_str()
        .split_once('\'')
        .ok_or_else(|| unclosed('\''))?;
    word.push_str(quoted);
    *rest = behind.chars();
    Ok(())
}

fn double_quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    loop {
        match rest.next().ok_or_else(|| unclosed('"'))? {
            '"' => return Ok(()),
            '\\' => match rest.next().ok_or_else(|| unclosed('"'))? {
                '\n' => {}
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                plain => word.extend(['\\', plain]),
            },
            plain => word.push(plain),
        }
    }
}

fn unclosed(quote: char) -> String {
    format!("a {quote} is not closed: write its second one, or \\{quote} for the character alone")
}

#[cfg(test)]
mod tests;
