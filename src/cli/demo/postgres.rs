//! A PostgreSQL of the demo's own: found on this machine, made in a folder of its own, and gone with it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::Command;
use uuid::Uuid;

use super::part::Part;
use crate::config::{DatabaseUrl, Secret};
use crate::store;

/// Where distributions put the server, which is seldom on the PATH: its folders are named by version.
const DISTRIBUTIONS: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", "bin"),
    ("/usr", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
];
/// The users a server may run as where we are root, which it refuses to be.
const USERS: [&str; 2] = ["postgres", "nobody"];
/// How long the server may take to answer for the first time.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end.
const STOP: Duration = Duration::from_secs(10);

/// Why there is no PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPostgres {
    #[error(
        "PostgreSQL is not on this machine: install it (Debian, Ubuntu: `apt-get install postgresql`; Fedora: `dnf install \
         postgresql-server`; macOS: `brew install postgresql`), or name its programs' folder with --postgres-bin"
    )]
    NotFound,
    #[error("{} has no `initdb` and `postgres`", .0.display())]
    NotThere(PathBuf),
    #[error("PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as")]
    NoUser,
    #[error("{program} failed: {said}")]
    Failed { program: &'static str, said: String },
    #[error("cannot {doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> NoPostgres {
    move |source| NoPostgres::Io { doing, source }
}

/// The folder of `initdb` and `postgres`: the one that is named; else one of the PATH, of a distribution, or of the cache
/// that `./dev` fills. It is absolute: programs are started from another folder than ours.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, NoPostgres> {
    std::path::absolute(found(named)?).map_err(io_error("find the folder that we are in"))
}

fn found(named: Option<&Path>) -> Result<PathBuf, NoPostgres> {
    let is_whole = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    if let Some(named) = named {
        let named = named.to_path_buf();
        return if is_whole(&named) { Ok(named) } else { Err(NoPostgres::NotThere(named)) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    let of_distribution = DISTRIBUTIONS.iter().flat_map(|(folder, bin)| versions(Path::new(folder), bin));
    let cached = cache().into_iter().flat_map(|cache| versions(&cache, "bin"));
    on_path.into_iter().chain(of_distribution).chain(cached).find(is_whole).ok_or(NoPostgres::NotFound)
}

fn cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("rollbook"))
}

/// The newest first.
fn versions(folder: &Path, bin: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_ours = name.contains("postgres") || name.contains("pgsql");
            let digits: String =
                name.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
            let is_version = !digits.is_empty() && (is_ours || digits == name);
            Some((digits.parse().ok().filter(|_| is_version)?, entry.path().join(bin)))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Who the server runs as, where that is not who we are.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// `None`: as we do.
    fn needed() -> Result<Option<Self>, NoPostgres> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let found = USERS.iter().find_map(|name| Self::of(&passwd, name));
        found.map(Some).ok_or(NoPostgres::NoUser)
    }

    fn of(passwd: &str, name: &str) -> Option<Self> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2);
        Some(Self { uid: numbers.next()?.parse().ok()?, gid: numbers.next()?.parse().ok()? })
    }
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Cluster {
    server: Part,
    port: u16,
    password: String,
}

impl Cluster {
    /// Makes a cluster in a folder, which is empty, and starts it.
    pub(super) async fn start(bin: &Path, folder: &Path) -> Result<Self, NoPostgres> {
        let user = User::needed()?;
        let (data, password_file) = (folder.join("data"), folder.join("password"));
        let password = Uuid::new_v4().simple().to_string();
        fs::create_dir(&data).map_err(io_error("make a folder"))?;
        fs::write(&password_file, &password).map_err(io_error("write the password"))?;
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))
            .map_err(io_error("protect the password"))?;
        if let Some(user) = user {
            for path in [folder, &data, &password_file] {
                chown(path, Some(user.uid), Some(user.gid))
                    .map_err(io_error("give a folder to PostgreSQL"))?;
            }
        }
        initdb(bin, folder, &password_file, user).await?;
        let port = free_port().map_err(io_error("find a free port"))?;
        let log = fs::File::create(folder.join("postgres.log")).map_err(io_error("write a log"))?;
        // SIGINT is its own fast way.
        let mut server = Part::command(&bin.join("postgres"), "INT");
        environment(&mut server, user)
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string()])
            // A socket's path may have a hundred bytes, and a temporary folder's alone may have more.
            .args(["-c", "unix_socket_directories="])
            // What it shares is in its folder too, as far as it can be, and goes with it even where it is killed.
            .args(["-c", "dynamic_shared_memory_type=mmap"])
            // It lives for minutes: nothing of it has to outlast the machine.
            .args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "max_connections=60", "-c", "shared_buffers=64MB"])
            .stdout(Stdio::null())
            .stderr(log);
        let server = Part::start(&mut server, Signal::QUIT).map_err(io_error("start PostgreSQL"))?;
        let mut cluster = Self { server, port, password };
        cluster.answers(folder).await?;
        Ok(cluster)
    }

    /// A login of this cluster.
    pub(super) fn url(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// The administrator's password.
    pub(super) fn password(&self) -> &str {
        &self.password
    }

    async fn answers(&mut self, folder: &Path) -> Result<(), NoPostgres> {
        let url = parsed(&self.url("rollbook", &self.password));
        let deadline = Instant::now() + START;
        loop {
            match store::connect(&url).await {
                Ok(_client) => return Ok(()),
                Err(error) => {
                    if self.server.has_ended() || Instant::now() > deadline {
                        let said = end_of(&folder.join("postgres.log"));
                        let said = if said.is_empty() { error.to_string() } else { said };
                        return Err(NoPostgres::Failed { program: "postgres", said });
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        self.server.has_ended()
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.server.stop(STOP).await;
    }
}

async fn initdb(bin: &Path, folder: &Path, password: &Path, user: Option<User>) -> Result<(), NoPostgres> {
    let path = folder.join("initdb.log");
    let log = fs::File::create(&path).map_err(io_error("write a log"))?;
    // It ends after its step: the server that does the step then gives its shared memory back.
    let mut command = Part::command(&bin.join("initdb"), "INT");
    environment(&mut command, user)
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-U", "rollbook", "-E", "UTF8", "--locale=C", "--auth=scram-sha-256", "--no-sync"])
        .arg(format!("--pwfile={}", password.display()))
        .stdout(Stdio::null())
        .stderr(log);
    let mut made = Part::start(&mut command, Signal::INT).map_err(io_error("run initdb"))?;
    if made.ended().await.map_err(io_error("run initdb"))?.success() {
        return Ok(());
    }
    Err(NoPostgres::Failed { program: "initdb", said: end_of(&path) })
}

/// Its programs run as their own user, and know nothing of servers that our environment names.
fn environment(command: &mut Command, user: Option<User>) -> &mut Command {
    let own = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with("PG"));
    std::env::vars_os().map(|(name, _)| name).filter(|name| own(name)).for_each(|name| {
        command.env_remove(name);
    });
    command.current_dir("/");
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// A URL of our own making.
pub(super) fn parsed(url: &str) -> DatabaseUrl {
    let written: Secret = url.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
    DatabaseUrl::parse(&written).expect("a URL of our own making")
}

/// A port that nobody has now.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What a program said last into its log, in a line.
pub(super) fn end_of(log: &Path) -> String {
    let said = fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_distributions_versions_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["9", "15", "17", "common", "postgresql@16"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let found = versions(folder.path(), "bin");
        let names: Vec<_> = found.iter().filter_map(|path| path.parent()?.file_name()?.to_str()).collect();
        assert_eq!(names, ["17", "postgresql@16", "15", "9"]);
    }

    #[test]
    fn a_folder_that_is_named_has_to_have_both_programs() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(find(Some(folder.path())), Err(NoPostgres::NotThere(_))));
        for program in ["initdb", "postgres"] {
            fs::write(folder.path().join(program), "").expect("a file");
        }
        assert_eq!(find(Some(folder.path())).expect("there"), folder.path());
    }

    #[test]
    fn a_folder_that_is_named_from_here_is_found_from_everywhere() {
        let here = std::env::current_dir().expect("a folder");
        let folder = tempfile::tempdir_in(&here).expect("a folder");
        for program in ["initdb", "postgres"] {
            fs::write(folder.path().join(program), "").expect("a file");
        }
        let named = Path::new(folder.path().file_name().expect("a name"));
        assert_eq!(find(Some(named)).expect("there"), folder.path());
    }

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7::/:/x\npostgres:x:105:113::/var:/bin/sh\n";
        let user = User::of(passwd, "postgres").expect("there");
        assert_eq!((user.uid, user.gid), (105, 113));
        assert!(User::of(passwd, "nobody").is_none());
    }
}
