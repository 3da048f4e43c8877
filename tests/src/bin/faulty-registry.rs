//! `registry serve /etc/distribution/config.yml`, for a registry that misbehaves on demand.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let file = match (arguments.next(), arguments.next()) {
        (Some(verb), Some(file)) if verb == "serve" => PathBuf::from(file),
        _ => {
            eprintln!("usage: registry serve CONFIG");
            return ExitCode::FAILURE;
        }
    };
    match regcache_tests::faulty::run(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("registry: {error:#}");
            ExitCode::FAILURE
        }
    }
}
