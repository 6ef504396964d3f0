//! `didtail completions` and `didtail man`: made of the same definitions as the help.

use std::path::{Path, PathBuf};

use anyhow::Context;
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

/// Print the manual, or write a page for each command
///
/// Examples:
///   didtail man | man -l -
///   didtail man --directory /usr/local/share/man/man1
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Manual {
    /// Write didtail.1, didtail-run.1 and so on into this directory
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Prints one page, didtail's own with a section for each command, or writes many.
pub(super) fn man(arguments: &Manual) -> Result<(), Failure> {
    match &arguments.directory {
        Some(directory) => write_pages(directory),
        None => Ok(output::print(&String::from_utf8_lossy(&page()?))?),
    }
}

/// Writes a page for each command, e.g. `didtail-checkpoint-reset.1`.
fn write_pages(directory: &Path) -> Result<(), Failure> {
    let written = clap_mangen::generate_to(Cli::command(), directory);
    let said = written.with_context(|| format!("cannot write into {}", directory.display()));
    said.map_err(|error| Failure {
        hint: Some("the directory must exist, and be yours".to_owned()),
        ..Failure::from(error)
    })
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

    #[test]
    fn each_command_has_a_page_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        write_pages(folder.path()).expect("written");
        for (page, words) in [
            ("didtail.1", "didtail\\-checkpoint(1)"),
            ("didtail-checkpoint-reset.1", "history"),
            ("didtail-run.1", "Type=notify"),
        ] {
            let text = std::fs::read_to_string(folder.path().join(page)).expect(page);
            assert!(text.contains(words), "{page}: {text}");
        }
        assert!(!folder.path().join("didtail-help.1").exists());
        let nowhere = write_pages(&folder.path().join("nowhere"));
        let error = nowhere.expect_err("no such folder").text();
        assert!(error.contains("error: cannot write into"), "{error}");
    }
}
