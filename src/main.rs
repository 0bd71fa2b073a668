//! The binary: hands the arguments to [`usersig_gateway::cli`] and takes its exit status back.

fn main() -> std::process::ExitCode {
    usersig_gateway::cli::main()
}
