//! The binary: hands over to `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vbc_proxy::cli::main()
}
