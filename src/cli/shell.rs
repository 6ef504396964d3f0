//! `didtail completions` and `didtail man`: made of the same definitions as the help.

use clap::{Args, CommandFactory};

use super::failure::Failure;
use super::{Cli, output};

/// Print a completion script for a shell
///
/// Example: didtail completions bash > /etc/bash_completion.d/didtail
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn completions(arguments: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "didtail", &mut script);
    Ok(output::print(&String::from_utf8_lossy(&script))?)
}

/// Prints one page: didtail's own, with a section for each command.
pub(super) fn man() -> Result<(), Failure> {
    Ok(output::print(&String::from_utf8_lossy(&page()?))?)
}

fn page() -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    append_commands(&command, &mut page)?;
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

fn append_commands(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    for child in command.get_subcommands() {
        if child.get_name() == "help" {
            continue;
        }
        let name = child.get_bin_name().unwrap_or(child.get_name());
        page.extend_from_slice(format!(".SH \"{}\"\n", name.to_uppercase()).as_bytes());
        // The options of every command are said once, at the top.
        let own = child.clone().mut_args(|argument| {
            let repeated = argument.is_global_set() || argument.get_id() == "help";
            argument.hide(repeated)
        });
        let man = clap_mangen::Man::new(own);
        man.render_description_section(page)?;
        if child
            .get_arguments()
            .any(|argument| !argument.is_global_set())
        {
            man.render_options_section(page)?;
        }
        append_commands(child, page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_command() {
        let page = String::from_utf8(page().expect("written")).expect("UTF-8");
        for name in [
            "DIDTAIL RUN",
            "DIDTAIL CHECKPOINT RESET",
            "DIDTAIL CONFIG CHECK",
        ] {
            assert!(page.contains(name), "{name}");
        }
        assert_eq!(page.matches("VICIdial database, mysql").count(), 1);
    }
}
