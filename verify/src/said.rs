//! What a process that runs one model is told, under either checker.

use biglock_verify::spec::REFUSED;

/// What is tried at random, instead of searched.
#[derive(Debug, clap::Args)]
pub struct Drawn {
    /// Up to this number, of which the tries are the seeds.
    #[arg(long, hide = true, value_name = "N")]
    pub tries: Option<u64>,
    /// From this number.
    #[arg(long, hide = true, value_name = "N", default_value_t = 0)]
    pub from: u64,
    /// What they should say when they break.
    #[arg(
        long,
        hide = true,
        value_name = "TEXT",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub says: String,
    /// Do not check each step against the specification.
    #[arg(long, hide = true)]
    pub unrefined: bool,
}

impl Drawn {
    /// Whether this is what was expected: the words of the page, or the specification, which speaks first of whatever rule a bug breaks on its way.
    pub fn expects(&self, message: &str) -> bool {
        message.starts_with(REFUSED) || message.contains(&self.says)
    }
}
