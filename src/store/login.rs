//! Logging in: at one address of the URL after the other, for the same time at each.
//!
//! The driver's own time-out is for the TCP connection alone. Behind that may be a host that is paused, or a balancer whose
//! backend is dead: it takes connections and says nothing. So every login of ours goes through [`log_in`], and the time
//! counts until the driver has its answer. One address that says nothing does not keep us from the next, as libpq has it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

use super::Error;
use crate::config::DatabaseUrl;

/// How long a login may take at one address when the URL's `connect_timeout` says nothing about it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that vanished without a word is given up after this long, whether we wait for it or it for us.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

const DEFAULT_PORT: u16 = 5432;

/// Logs in `by` this, at the first address where that succeeds.
///
/// # Errors
/// What the last address came to: not reachable, silent, or the login was refused.
pub(super) async fn log_in<T, F>(url: &DatabaseUrl, by: impl Fn(Config) -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, tokio_postgres::Error>>,
{
    let config = driver_config(url);
    let patience = config.get_connect_timeout().copied().unwrap_or(PATIENCE);
    let silent = |place: &Place| {
        let (login, place) = (url.user().to_owned(), place.to_string());
        Error::LoginTimedOut { login, place, patience }
    };
    let mut last = None;
    for place in Place::all_of(&config) {
        let Ok(addresses) = timeout(patience, place.addresses(&config)).await else {
            last = Some(silent(&place));
            continue;
        };
        for place in addresses {
            match timeout(patience, by(place.narrow(&config))).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(source)) => last = Some(Error::Connect { login: url.user().to_owned(), source }),
                Err(_) => last = Some(silent(&place)),
            }
        }
    }
    Err(last.expect("a URL without any place has `Place::Whole`"))
}

/// The URL with what every connection of ours has.
fn driver_config(url: &DatabaseUrl) -> Config {
    let mut config = url.config().clone();
    if config.get_application_name().is_none() {
        config.application_name("rollbook");
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE_TIMEOUT).keepalives_idle(SILENCE_TIMEOUT);
    }
    config
}

/// Where a server may be.
#[derive(Clone, Debug)]
enum Place {
    /// One host of the URL, by its name, its address or both.
    One { host: Option<Host>, address: Option<IpAddr>, port: u16 },
    /// A URL that names no host, or hosts and ports that do not go together: the driver says what is wrong with it.
    Whole,
}

impl Place {
    fn all_of(config: &Config) -> Vec<Self> {
        let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
        let count = hosts.len().max(addresses.len());
        let go_together = [hosts.len(), addresses.len()].into_iter().all(|some| some == 0 || some == count)
            && (ports.len() <= 1 || ports.len() == count);
        if count == 0 || !go_together {
            return vec![Self::Whole];
        }
        let port = |index| ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        let one = |index| Self::One {
            host: hosts.get(index).cloned(),
            address: addresses.get(index).copied(),
            port: port(index),
        };
        balanced((0..count).map(one).collect(), config)
    }

    /// The same place by each address that its name has.
    async fn addresses(&self, config: &Config) -> Vec<Self> {
        let Self::One { host: Some(Host::Tcp(name)), address: None, port } = self else {
            return vec![self.clone()];
        };
        let found = lookup_host((name.as_str(), *port)).await.map(Vec::from_iter).unwrap_or_default();
        if found.is_empty() {
            // The driver says it.
            return vec![self.clone()];
        }
        let at =
            |address| Self::One { host: Some(Host::Tcp(name.clone())), address: Some(address), port: *port };
        balanced(found.into_iter().map(|found| at(found.ip())).collect(), config)
    }

    /// What the URL says, for this place alone, and without a time-out of the driver's beside ours.
    fn narrow(&self, whole: &Config) -> Config {
        let Self::One { host, address, port } = self else { return whole.clone() };
        let mut config = Config::new();
        config
            .port(*port)
            .ssl_mode(whole.get_ssl_mode())
            .ssl_negotiation(whole.get_ssl_negotiation())
            .keepalives(whole.get_keepalives())
            .keepalives_idle(whole.get_keepalives_idle())
            .target_session_attrs(whole.get_target_session_attrs())
            .channel_binding(whole.get_channel_binding())
            .load_balance_hosts(whole.get_load_balance_hosts());
        set(host.as_ref(), |host| match host {
            Host::Tcp(name) => config.host(name),
            #[cfg(unix)]
            Host::Unix(path) => config.host_path(path),
        });
        set(*address, |address| config.hostaddr(address));
        set(whole.get_user(), |user| config.user(user));
        set(whole.get_password(), |password| config.password(password));
        set(whole.get_dbname(), |database| config.dbname(database));
        set(whole.get_options(), |options| config.options(options));
        set(whole.get_application_name(), |name| config.application_name(name));
        set(whole.get_tcp_user_timeout(), |timeout| config.tcp_user_timeout(*timeout));
        set(whole.get_keepalives_interval(), |interval| config.keepalives_interval(interval));
        set(whole.get_keepalives_retries(), |retries| config.keepalives_retries(retries));
        config
    }
}

fn set<'a, T>(said: Option<T>, set: impl FnOnce(T) -> &'a mut Config) {
    said.map(set);
}

/// In the URL's order, unless it asks for none.
fn balanced(mut places: Vec<Place>, config: &Config) -> Vec<Place> {
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        places.shuffle(&mut rand::rng());
    }
    places
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::One { host, address, port } = self else { return f.write_str("the server") };
        match (host, address) {
            (Some(Host::Tcp(name)), Some(address)) if *name != address.to_string() => {
                write!(f, "{name} ({address}), port {port},")
            }
            (Some(Host::Tcp(name)), _) => write!(f, "{name}, port {port},"),
            #[cfg(unix)]
            (Some(Host::Unix(path)), _) => write!(f, "{}, port {port},", path.display()),
            (None, Some(address)) => write!(f, "{address}, port {port},"),
            (None, None) => f.write_str("the server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        driver_config(&DatabaseUrl::parse(&text.parse().expect("any text")).expect("a URL"))
    }

    fn places(text: &str) -> Vec<String> {
        Place::all_of(&config(text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn hosts_and_ports_are_told_apart_as_the_driver_does() {
        assert_eq!(places("postgres://ann@db/x"), ["db, port 5432,"]);
        assert_eq!(places("postgres://ann@a:1,b:2/x"), ["a, port 1,", "b, port 2,"]);
        assert_eq!(places("postgres:///x?user=ann&host=a&host=b&port=7"), ["a, port 7,", "b, port 7,"]);
        assert_eq!(places("postgres://ann@%2Frun/x"), ["/run, port 5432,"]);
        assert_eq!(places("postgres://ann@a/x?hostaddr=10.0.0.1"), ["a (10.0.0.1), port 5432,"]);
        assert_eq!(places("postgres:///x?user=ann&hostaddr=10.0.0.1"), ["10.0.0.1, port 5432,"]);
        assert_eq!(places("postgres:///x?user=ann"), ["the server"]);
        assert_eq!(places("postgres://ann@a,b/x?hostaddr=10.0.0.1"), ["the server"]);
    }

    #[test]
    fn one_place_of_a_url_has_everything_else_that_the_url_says() {
        let url = "postgres://ann:pw@db:7/x?hostaddr=10.0.0.1&options=-c%20a%3Db&application_name=us&sslmode=require\
            &sslnegotiation=direct&tcp_user_timeout=3&keepalives=0&keepalives_idle=4&keepalives_interval=5\
            &keepalives_retries=6&target_session_attrs=read-write&channel_binding=require&load_balance_hosts=random";
        let whole = config(url);
        assert_eq!(Place::all_of(&whole)[0].narrow(&whole), whole);
        let socket = config("postgres://ann@%2Frun/x");
        assert_eq!(Place::all_of(&socket)[0].narrow(&socket).get_hosts(), socket.get_hosts());
    }

    #[tokio::test]
    async fn a_name_is_tried_at_every_address_that_it_has() {
        let whole = config("postgres://ann@localhost,nowhere.invalid/x");
        let all = Place::all_of(&whole);
        let addresses = all[0].addresses(&whole).await;
        assert!(addresses.iter().all(|place| matches!(place, Place::One { address: Some(_), .. })));
        assert_eq!(all[1].addresses(&whole).await.len(), 1, "the driver says that it has none");
    }
}
