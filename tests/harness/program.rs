//! Runs the real program, with no environment but what the test gives it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;

/// A run that takes longer does not end by itself, such as a service that should not have started.
const LONGEST_RUN: Duration = Duration::from_secs(120);

/// One run of `rollbook`, to be.
#[derive(Debug)]
pub(crate) struct Rollbook {
    command: tokio::process::Command,
    words: String,
}

impl Rollbook {
    /// A run with these words, split at white space.
    pub(crate) fn new(words: &str) -> Self {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rollbook"));
        command.args(words.split_whitespace()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        Self { command, words: words.to_owned() }
    }

    /// One more word, which may hold white space.
    pub(crate) fn arg(mut self, word: &str) -> Self {
        self.command.arg(word);
        self
    }

    /// A variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable back.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Its log is this folder, and there is no Kafka.
    pub(crate) fn with_embedded_log(self, folder: &Path) -> Self {
        self.without("ROLLBOOK_KAFKA_BROKERS")
            .without("ROLLBOOK_KAFKA_TOPIC")
            .without("ROLLBOOK_KAFKA_GROUP")
            .env("ROLLBOOK_LOG", "embedded")
            .env("ROLLBOOK_DATA_DIR", folder.to_str().expect("text"))
    }

    /// Lets it have so many file descriptors, and give itself so many.
    pub(crate) fn with_descriptors(mut self, soft: u32, hard: u32) -> Self {
        let program = self.command.as_std();
        let mut limited = tokio::process::Command::new("/usr/bin/prlimit");
        limited.arg(format!("--nofile={soft}:{hard}")).arg("--").arg(program.get_program());
        limited.args(program.get_args()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        limited.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.command = limited;
        self
    }

    /// Lets a shell do this instead, with the same settings, in this folder: `rollbook` and Postgres' own programs are on its path.
    pub(crate) fn by_shell(mut self, script: &str, folder: &Path) -> Self {
        let program = self.command.as_std();
        let postgres = std::env::var("TEST_POSTGRES_BIN")
            .unwrap_or_else(|_| panic!("TEST_POSTGRES_BIN is not set: run ./dev test"));
        let ours = Path::new(program.get_program()).parent().expect("a program is in a folder").display();
        let mut shell = tokio::process::Command::new("/bin/sh");
        shell.args(["-euc", script]).env_clear().stdin(Stdio::null()).kill_on_drop(true).current_dir(folder);
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("PATH", format!("{ours}:{postgres}:/usr/bin:/bin"));
        self.command = shell;
        self.words = script.to_owned();
        self
    }

    /// Starts it, to go on by itself; what it says goes into a pipe.
    pub(crate) fn start(mut self) -> tokio::process::Child {
        self.command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    /// Runs it to its end.
    pub(crate) async fn run(mut self) -> Ran {
        self.command.stdout(Stdio::piped());
        self.ended().await
    }

    /// The same with its answers going into a file.
    pub(crate) async fn into_file(mut self, path: &str) -> Ran {
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("a file to write to");
        self.command.stdout(file);
        self.ended().await
    }

    /// The same with nobody to read its answers.
    pub(crate) async fn into_closed_pipe(mut self) -> Ran {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        self.command.stdout(writer);
        self.ended().await
    }

    /// The same at a terminal where somebody types this. `script` makes one; all that is said comes as one text.
    pub(crate) async fn on_a_terminal(mut self, typed: &str) -> Ran {
        self = self.at_a_terminal("");
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("script is installed");
        let mut keyboard = child.stdin.take().expect("a pipe");
        keyboard.write_all(typed.as_bytes()).await.expect("it reads");
        self.outcome(child).await
    }

    /// The same at a terminal that this prepares. It is there for as long as `script` is, whose standard input is the keyboard.
    pub(crate) fn at_a_terminal(mut self, preparation: &str) -> Self {
        let program = self.command.as_std();
        let words = [program.get_program()].into_iter().chain(program.get_args());
        let line = words.map(|word| word.to_str().expect("text")).collect::<Vec<_>>().join(" ");
        let line = format!("{preparation}{line}");
        let mut terminal = tokio::process::Command::new("/usr/bin/script");
        terminal.args(["-qec", &line, "/dev/null"]).env_clear().stdin(Stdio::piped()).kill_on_drop(true);
        terminal.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.command = terminal;
        self
    }

    /// Starts it, to go on by itself, with what it says and answers in a file.
    pub(crate) fn start_into(mut self, file: &Path) -> tokio::process::Child {
        let file = std::fs::File::create(file).expect("a file to write to");
        self.command.stdout(file.try_clone().expect("a file")).stderr(file);
        self.command.spawn().expect("the program starts")
    }

    async fn ended(mut self) -> Ran {
        let child = self.command.stderr(Stdio::piped()).spawn().expect("the program starts");
        self.outcome(child).await
    }

    async fn outcome(self, child: Child) -> Ran {
        let output = child.wait_with_output();
        let output = tokio::time::timeout(LONGEST_RUN, output).await;
        let output = output.unwrap_or_else(|_| panic!("`rollbook {}` does not end", self.words));
        let output = output.expect("a child of ours");
        Ran {
            words: self.words,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("it prints text"),
            stderr: String::from_utf8(output.stderr).expect("it prints text"),
        }
    }
}

/// What one run said.
#[derive(Debug)]
pub(crate) struct Ran {
    words: String,
    code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// It did what it was asked; nothing was complained of.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        self.exits(0)
    }

    /// It ended with this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "`rollbook {}` said {}{}", self.words, self.stdout, self.stderr);
        self
    }

    /// The one JSON value that `--json` prints.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("`rollbook {}`: {error} in {:?}", self.words, self.stdout))
    }

    /// The items of a list.
    #[track_caller]
    pub(crate) fn items(&self) -> Vec<Value> {
        self.json()["items"].as_array().expect("a list has items").clone()
    }

    /// The code of a failure under `--json`; nothing else may stand on standard error.
    #[track_caller]
    pub(crate) fn error_code(&self) -> String {
        let error: Value = serde_json::from_str(&self.stderr)
            .unwrap_or_else(|error| panic!("`rollbook {}`: {error} in {:?}", self.words, self.stderr));
        assert!(error["error"]["message"].is_string(), "{error}");
        error["error"]["code"].as_str().expect("a failure has a code").to_owned()
    }
}
