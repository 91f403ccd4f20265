//! The binary. Everything is in `vbc_proxy::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vbc_proxy::cli::main()
}
