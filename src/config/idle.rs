//! Flags that change nothing beside the others. Who writes one means something by it, so it is refused. In the environment
//! it is let pass: that is every command's, and what one of them does not need another does.

/// Settings of a command that have no effect beside its others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// By their names among the command's arguments.
    pub arguments: &'static [&'static str],
    /// Why, to stand behind the flag.
    pub why: &'static str,
}

impl Idle {
    /// These, where the condition holds.
    pub fn if_so(is_so: bool, arguments: &'static [&'static str], why: &'static str) -> Option<Self> {
        is_so.then_some(Self { arguments, why })
    }
}
