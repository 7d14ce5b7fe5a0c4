#![doc = links!()]
#![doc = include_str!("README.md")]

/// Where the pages link to. In the files a link leads to another file, for readers on a code host.
/// rustdoc takes the first definition of a link, which is this one, and checks it.
macro_rules! links {
    () => {
        "
[as_a_service]: crate::manual::as_a_service
[behind_a_proxy]: crate::manual::behind_a_proxy
[buffering]: crate::manual::buffering
[endings]: crate::manual::endings
[environment]: crate::manual::environment
[exercises]: crate::manual::exercises
[getting_started]: crate::manual::getting_started
[limits]: crate::manual::limits
[messages]: crate::manual::messages
[not_included]: crate::manual::not_included
[options]: crate::manual::options
[programs]: crate::manual::programs
[proxy]: crate::manual::behind_a_proxy
[resume]: crate::manual::resume
[security]: crate::manual::security
[several_commands]: crate::manual::several_commands
[shared]: crate::manual::shared
[stdio_servers]: crate::manual::stdio_servers
[testing]: crate::manual::testing
[why]: crate::manual::why
[wspipe]: crate

"
    };
}

/// One module for each page, named like its file.
macro_rules! pages {
    ($($name:ident)*) => {
        $(
            #[doc = links!()]
            #[doc = include_str!(concat!(stringify!($name), ".md"))]
            pub mod $name {}
        )*
    };
}

use links;

pages! {
    getting_started
    programs
    buffering
    messages
    stdio_servers
    environment
    several_commands
    shared
    resume
    endings
    behind_a_proxy
    as_a_service
    security
    limits
    options
    not_included
    why
    exercises
    testing
}
